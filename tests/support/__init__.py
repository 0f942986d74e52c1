"""What the tests share: servers, raw wire clients, scripted peers, a proxy with faults."""
