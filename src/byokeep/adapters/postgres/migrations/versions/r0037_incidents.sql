-- Incidents, frozen: one for each thing that happened. Those of the vault of browser profiles are taken over.

CREATE TABLE byokeep.incident (
    id UUID NOT NULL,
    client_id UUID,
    kind TEXT NOT NULL,
    severity TEXT NOT NULL,
    object_kind TEXT DEFAULT '' NOT NULL,
    object_id UUID,
    platform TEXT DEFAULT '' NOT NULL,
    source TEXT NOT NULL,
    dedup_key TEXT NOT NULL,
    noticed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    began_at TIMESTAMP WITH TIME ZONE NOT NULL,
    began_assumed BOOLEAN NOT NULL,
    opened_by UUID NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    ticket TEXT DEFAULT '' NOT NULL,
    ticket_at TIMESTAMP WITH TIME ZONE,
    postmortem TEXT DEFAULT '' NOT NULL,
    postmortem_sha256 TEXT DEFAULT '' NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE,
    closed_by UUID,
    CONSTRAINT incident_pk PRIMARY KEY (id),
    CONSTRAINT incident_client_id_fk FOREIGN KEY (client_id) REFERENCES byokeep.client (id),
    CONSTRAINT incident_severity_ck CHECK (severity IN ('P0', 'P1', 'P2', 'P3')),
    CONSTRAINT incident_words_ck CHECK (
        kind ~ '^[a-z][a-z0-9_]{0,39}$' AND source ~ '^[a-z][a-z0-9_]{0,39}$' AND platform ~ '^[a-z0-9_]{0,39}$'
        AND object_kind IN ('', 'key', 'account', 'profile', 'vault') AND dedup_key ~ '^[a-z0-9_/-]{3,128}$'
        AND postmortem_sha256 ~ '^([0-9a-f]{64})?$' AND length(ticket) <= 300 AND length(postmortem) <= 300),
    CONSTRAINT incident_since_ck CHECK (began_at <= noticed_at),
    CONSTRAINT incident_closed_ck CHECK ((closed_at IS NULL) = (closed_by IS NULL))
);
CREATE UNIQUE INDEX incident_open_uq ON byokeep.incident (dedup_key) WHERE closed_at IS NULL;
CREATE INDEX incident_client_ix ON byokeep.incident (client_id, opened_at);

INSERT INTO byokeep.incident
    (id, client_id, kind, severity, object_kind, source, dedup_key, noticed_at, began_at, began_assumed, opened_by,
     opened_at, closed_at, closed_by)
SELECT i.id, i.client_id,
       CASE i.cause WHEN 'drill' THEN 'drill' WHEN 'runner_compromise' THEN 'runner_compromise'
                    WHEN 'account_lockout' THEN 'lockout' ELSE 'artifact_exposure' END,
       CASE i.cause WHEN 'drill' THEN 'P3' WHEN 'account_lockout' THEN 'P2' ELSE 'P1' END, 'vault', 'person',
       'vault/' || i.id, r.started_at, least(i.since, r.started_at),
       abs(extract(epoch FROM r.started_at - i.since) - 259200) < 1, r.started_by, r.started_at, r.closed_at, r.closed_by
  FROM byokeep.profile_incident i JOIN byokeep.procedure_run r ON r.id = i.id;
