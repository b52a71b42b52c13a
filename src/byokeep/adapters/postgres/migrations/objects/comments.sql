-- What the tables and columns are for, where their names do not say it.

COMMENT ON VIEW byokeep.usage IS 'Uses of credentials: leases, permits, and calls that runners told of.';
COMMENT ON TABLE byokeep.job_template IS 'What a client''s regular job declares, so that a new key can be tried with it.';
COMMENT ON TABLE byokeep.dry_run IS 'A job that is given the new version of a key before its cutover, and no permit.';
COMMENT ON TABLE byokeep.provider_usage IS
    'What a provider counted, models and numbers, as a worker was told for one report; the record of its run names it.';
COMMENT ON TABLE byokeep.tool_call IS 'A call that a job made with a credential, as its runner told; kept for 35 days.';
COMMENT ON COLUMN byokeep.tool_call.args_digest IS 'Keyed digest of the arguments: equal ones can be told, none read.';
COMMENT ON COLUMN byokeep.lease_calls.missing IS 'How many of these had not been told of when the number was said.';
COMMENT ON TABLE byokeep.lease_calls IS 'How many calls a holder says it made under a lease; without a row: unknown.';

COMMENT ON TABLE byokeep.account_grant IS
    'What a client''s consent gave us for one account: ends, scopes, the fingerprint as the platform said it; no token.';
COMMENT ON INDEX byokeep.account_grant_one_client_uq IS 'R5.2-15: one account on a platform is one client''s.';
COMMENT ON COLUMN byokeep.alert.code_points IS 'Of a look-alike: the characters that give it away.';
COMMENT ON COLUMN byokeep.approval.asked IS 'What was asked for, as canonical JSON; the scope binds the approval to it.';
COMMENT ON INDEX byokeep.audit_record_refused_ix IS 'What the page of usage counts as refused.';
COMMENT ON INDEX byokeep.audit_record_alert_ix IS 'What a reconciliation holds alerts against.';
COMMENT ON INDEX byokeep.audit_record_store_ix IS
    'What a reconciliation looks for among all that happened: writes at the store and changes of its set-up.';
COMMENT ON INDEX byokeep.audit_record_subject_ix IS 'What a reconciliation holds people, machines and their tokens against.';
COMMENT ON TABLE byokeep.audit_vocabulary IS
    'Which events there are, which role may write each, and which fields it may have: filled from the code''s own vocabulary.';
COMMENT ON TABLE byokeep.connection IS
    'One consent under way. State and binding are secrets that somebody brings back: keyed digests of them are kept.';
COMMENT ON COLUMN byokeep.connection.answered_at IS 'When the answer came, and then when a refresher took it.';
COMMENT ON COLUMN byokeep.connection.code_points IS 'Of a look-alike: the characters that give it away.';
COMMENT ON COLUMN byokeep.connection.held_as IS 'The name under which this client has the account already.';
COMMENT ON COLUMN byokeep.connection.offered IS
    'What a person may pick from, "ID NAME" each, in printable ASCII; empty again after a day.';
COMMENT ON COLUMN byokeep.credential_ref.candidate_version IS
    'A newer value that waits for its verification; the pinned one goes on serving until then.';
COMMENT ON COLUMN byokeep.credential_ref.provider_place IS
    'Of a keyless credential the ids of the provider that it is; of an administrator''s key where in the account it works.';
COMMENT ON COLUMN byokeep.installation.store_recorded_at IS
    'When the broker last proved that an audit device of the store records; web reads it before it writes a value.';
COMMENT ON COLUMN byokeep.job.sealing_at IS 'From here on it seals the profile that it used, and causes no effect.';
COMMENT ON TABLE byokeep.kek_rotation IS
    'A rotation of a key-encryption key: done only when no wrapped key is left on the old versions (R6.1-8).';
COMMENT ON TABLE byokeep.kek_version IS
    'One version of a key-encryption key, from the moment it is made: the inventory (S-NIST-12, S-NIST-13).';
COMMENT ON COLUMN byokeep.kek_version.client_id IS 'Null for a key that guards every client.';
COMMENT ON CONSTRAINT kek_version_numbers_ck ON byokeep.kek_version IS 'S-NIST-11: never weaker than what it wraps.';
COMMENT ON TABLE byokeep.leak_fingerprint IS
    'Keyed digests of a few windows of a value, by which a copy of it is found (docs/spec/leak-fingerprints.md). Announced'
    ' with the write, so before there is a reference; a version written by an early release has no row.';
COMMENT ON COLUMN byokeep.permit.way IS 'Where a canary of re-enabling took this act (core/reenable.py); null outside one.';
COMMENT ON INDEX byokeep.permit_idempotency_uq IS
    'R1.5-6: one key never yields two effects; a failed attempt (surely not done) frees the key.';
COMMENT ON COLUMN byokeep.platform_account.username IS
    'Typed by an operator, or as a platform says it: any script then, and empty where a platform tells none.';
COMMENT ON TABLE byokeep.platform_app IS
    'Our app at a platform''s login: its public half. The secret half lies in the store, for custody alone.';
COMMENT ON COLUMN byokeep.platform_app.secret_version IS '0: the app has no secret.';
COMMENT ON TABLE byokeep.profile IS 'One Chromium profile of one client (SOP 5.3).';
COMMENT ON COLUMN byokeep.profile.generation IS '0: nothing was sealed yet.';
COMMENT ON COLUMN byokeep.profile.epoch IS 'Counts openings; an older one may not seal.';
COMMENT ON CONSTRAINT profile_sealed_after_confirmed_ck ON byokeep.profile IS
    'R5.3-6: nothing is sealed that no person confirmed.';
COMMENT ON TABLE byokeep.profile_account IS
    'Whose accounts a profile is logged in to: one for each platform, and an account has one living profile.';
COMMENT ON TABLE byokeep.profile_generation IS
    'One sealed state: which blob, which key, and where in the store its record lies. Rows are never taken away.';
COMMENT ON COLUMN byokeep.profile_generation.accounts_hash IS
    'Of the accounts in its manifest, which a job that seals it again must name. Null: an older release sealed it.';
COMMENT ON TABLE byokeep.profile_incident IS
    'The profile vault is suspected compromised (runbook 7.3): the procedure, and how far it got.';
COMMENT ON COLUMN byokeep.profile_incident.step IS
    'No longer said, nor who opened and closed it: its run of the same id says so.';
COMMENT ON TABLE byokeep.incident IS
    'What happened and is to be answered (runbook sections 6.3 and 7): one open row for a kind and a thing. The run of its
     playbook has its id, if it has begun.';
COMMENT ON TABLE byokeep.procedure_run IS
    'How far a procedure is: evidence names the records of its steps, facts what they hand on, revision each move.';
COMMENT ON COLUMN byokeep.profile_incident.client_id IS 'Null: every client.';
COMMENT ON TABLE byokeep.profile_incident_item IS
    'One profile''s way through an incident, and for each platform what became of the session; never a success unseen.';
COMMENT ON TABLE byokeep.profile_opening IS
    'Who has a profile open just now: one opener at a time, and its epoch is what a seal must still hold.';
COMMENT ON COLUMN byokeep.profile_opening.until IS 'Closed: until = now; the row stays.';
COMMENT ON TABLE byokeep.profile_work IS
    'What a person asked for and a worker does with a browser or a key; at most one under way for a profile.';
COMMENT ON TABLE byokeep.reenabling IS
    'The way back of a platform after its grant was lost (core/reenable.py). No row: it was never closed.';
COMMENT ON COLUMN byokeep.reenabling.closed_at IS 'A consent that was begun before leads nowhere.';
COMMENT ON TABLE byokeep.refresh_journal IS
    'The journal of renewals (core/landing.py). The owner names the slots that a reply may lie in; at most one is open.';
COMMENT ON TABLE byokeep.scheduled_effect IS
    'What is to be done at a later time, as a dispatcher announced it: held while its platform is closed, never dropped.';
COMMENT ON TABLE byokeep.schema_objects IS
    'Digest of the functions, triggers, row policies, grants and comments that stand in this database.';
COMMENT ON COLUMN byokeep.schema_objects.runs_from IS
    'The oldest revision whose release runs on this schema; a database that an older release laid does not say.';
COMMENT ON COLUMN byokeep.subject.admin_until IS 'Until when an admin whom another stopped counts on as one.';
COMMENT ON COLUMN byokeep.subject.held_until IS 'Until when this person approves nothing.';
COMMENT ON COLUMN byokeep.subject.password_mark IS 'The digest of password_phc; set by objects/subjects.sql alone.';
COMMENT ON COLUMN byokeep.subject.record_seq IS 'The record that says what this row says; set by objects/subjects.sql alone.';
COMMENT ON CONSTRAINT subject_name_ck ON byokeep.subject IS
    'Letters, digits, plain punctuation. Nothing secret-shaped fits (25 unbroken characters and more).';
COMMENT ON CONSTRAINT subject_separate_roles_ck ON byokeep.subject IS
    'R4.1-12, as core/policy.py has it: whoever writes rows past the code gives nobody both sides either.';
COMMENT ON TABLE byokeep.vault_key_transition IS
    'Every move of a key of the vault, beside its audit record (S-NIST-1). A destroyed key''s row is its tombstone.';
