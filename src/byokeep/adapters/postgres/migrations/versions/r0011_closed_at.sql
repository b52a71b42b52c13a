-- When a platform was closed last, frozen; see tables_social.py. Of one that was closed before this column was there the
-- time of the upgrade stands: a consent under way at that moment is begun once more.

ALTER TABLE byokeep.reenabling
    ADD COLUMN closed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL;
