-- Until when an admin whom another stopped counts on as one, frozen; see tables.py. The function answers with rows now.

ALTER TABLE byokeep.subject ADD COLUMN admin_until TIMESTAMP WITH TIME ZONE;
DROP FUNCTION IF EXISTS byokeep.able_admins();
