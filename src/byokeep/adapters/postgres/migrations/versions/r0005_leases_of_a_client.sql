-- How many leases a client took within the last second; see tables.py.
CREATE INDEX lease_client_issued_at_ix ON byokeep.lease (client_id, issued_at);
