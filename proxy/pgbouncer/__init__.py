"""PgBouncer's configuration, read and written anew as ours."""
