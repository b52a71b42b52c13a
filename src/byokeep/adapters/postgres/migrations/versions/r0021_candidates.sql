-- A newer value beside the one that serves, frozen; see tables.py.

ALTER TABLE byokeep.credential_ref
    ADD COLUMN candidate_version INTEGER,
    ADD COLUMN candidate_risk TEXT,
    ADD COLUMN candidate_due_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN candidate_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN candidate_by UUID,
    ADD CONSTRAINT credential_ref_candidate_ck CHECK (
        num_nulls(candidate_version, candidate_risk, candidate_due_at, candidate_at, candidate_by) IN (0, 5)
        AND coalesce(candidate_version > version, true)
        AND coalesce(candidate_risk IN ('standard', 'high'), true));
