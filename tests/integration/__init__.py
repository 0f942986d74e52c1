"""The whole proxy in front of a real PostgreSQL, and PostgreSQL alone as the measure of what is right."""
