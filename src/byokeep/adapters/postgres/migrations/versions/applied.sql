-- Where the newest revision stands that a database has seen. The names are those of the first releases.
CREATE SCHEMA IF NOT EXISTS byokeep;
CREATE TABLE IF NOT EXISTS byokeep.alembic_version (
    version_num varchar(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY
);
