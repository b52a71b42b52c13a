-- What the clock began by itself, frozen: one row for each item, of its last try.

CREATE TABLE byokeep.due_start (
    kind TEXT NOT NULL,
    item TEXT NOT NULL,
    client_id UUID NOT NULL,
    provider TEXT NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    tried_at TIMESTAMP WITH TIME ZONE NOT NULL,
    tries INTEGER NOT NULL,
    CONSTRAINT due_start_pk PRIMARY KEY (client_id, kind, item),
    CONSTRAINT due_start_words_ck CHECK (
        kind ~ '^[a-z][a-z0-9_]{0,31}$' AND item ~ '^[A-Za-z0-9_.:/-]{1,100}$' AND provider ~ '^[a-z0-9_]{0,31}$'),
    CONSTRAINT due_start_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client (id)
);
CREATE INDEX due_start_tried_ix ON byokeep.due_start (provider, tried_at);
