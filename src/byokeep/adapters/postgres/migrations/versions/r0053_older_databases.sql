-- When the database last became an older one: asked by each sweep, and one of very many records. Frozen.

CREATE INDEX audit_record_older_ix ON byokeep.audit_record (chain, seq)
 WHERE event = 'backup.restored' AND outcome = 'ok'
    OR event = 'checkpoint.signed' AND position('"reason":"checkpoint_mismatch"'::bytea IN payload) > 0;
