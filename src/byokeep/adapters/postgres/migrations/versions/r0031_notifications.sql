-- Messages to people that wait or were sent, and the work that the clock began, frozen.

CREATE TABLE byokeep.notification (
    id UUID NOT NULL,
    client_id UUID,
    source TEXT NOT NULL,
    about TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    stage TEXT NOT NULL,
    target TEXT NOT NULL,
    code TEXT NOT NULL,
    urgent BOOLEAN NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE NOT NULL,
    next_at TIMESTAMP WITH TIME ZONE NOT NULL,
    tries INTEGER DEFAULT 0 NOT NULL,
    failure TEXT DEFAULT '' NOT NULL,
    sent_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT notification_pk PRIMARY KEY (id),
    -- Each reminder, and each alert, once to each target.
    CONSTRAINT notification_once_uq UNIQUE (source, about, at, stage, target),
    CONSTRAINT notification_source_ck CHECK (source IN ('alert', 'due')),
    CONSTRAINT notification_about_ck CHECK (about ~ '^[A-Za-z0-9_.:/-]{1,128}$'),
    CONSTRAINT notification_words_ck CHECK (
        stage ~ '^[a-z][a-z0-9_]{0,31}$' AND code ~ '^[a-z][a-z0-9_]{0,63}$' AND failure ~ '^[a-z0-9_]{0,63}$'),
    CONSTRAINT notification_target_ck CHECK (target ~ '^[a-z][a-z0-9_-]{0,31}$')
);
CREATE INDEX notification_waiting_ix ON byokeep.notification (target, next_at) WHERE sent_at IS NULL;
CREATE INDEX notification_sent_ix ON byokeep.notification (target, sent_at) WHERE sent_at IS NOT NULL;
