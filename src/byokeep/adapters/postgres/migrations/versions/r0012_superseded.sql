-- When a consent that was refused may have ended what lives, frozen; see tables_social.py.

ALTER TABLE byokeep.account_grant ADD COLUMN superseded_at TIMESTAMP WITH TIME ZONE;
