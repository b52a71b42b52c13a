-- Least privilege, one block for each role. Nobody but the owner writes audit records and heads, and the owner only
-- through byokeep.audit_append. No role has TRUNCATE, REFERENCES or TRIGGER; DELETE is given where a row is no record.

REVOKE ALL ON SCHEMA public FROM PUBLIC;
REVOKE ALL ON SCHEMA byokeep, procrastinate FROM PUBLIC, byokeep_web, byokeep_broker, byokeep_killswitch, byokeep_worker, byokeep_auditor;
REVOKE ALL ON ALL TABLES IN SCHEMA byokeep FROM PUBLIC, byokeep_web, byokeep_broker, byokeep_killswitch, byokeep_worker, byokeep_auditor;
REVOKE ALL ON ALL TABLES IN SCHEMA procrastinate FROM PUBLIC, byokeep_web, byokeep_broker, byokeep_killswitch, byokeep_worker, byokeep_auditor;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA procrastinate FROM PUBLIC, byokeep_web, byokeep_broker, byokeep_killswitch, byokeep_worker, byokeep_auditor;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA byokeep FROM PUBLIC, byokeep_web, byokeep_broker, byokeep_killswitch, byokeep_worker, byokeep_auditor;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA procrastinate FROM PUBLIC, byokeep_web, byokeep_broker, byokeep_killswitch, byokeep_worker, byokeep_auditor;

GRANT USAGE ON SCHEMA byokeep TO byokeep_web, byokeep_broker, byokeep_worker, byokeep_auditor;
GRANT EXECUTE ON FUNCTION byokeep.audit_append(uuid, text, uuid, uuid, uuid, text, bytea)
    TO byokeep_web, byokeep_broker, byokeep_worker, byokeep_auditor;
GRANT EXECUTE ON FUNCTION byokeep.scope_lock_key(text), byokeep.profile_usable(uuid, uuid), byokeep.is_owner(),
    byokeep.refuse_unrecorded(text), byokeep.alert_on_record(uuid, timestamptz), byokeep.tells_of_rotation(text),
    byokeep.revocation_left(uuid), byokeep.audit_hold(uuid), byokeep.role_of(name), byokeep.approval_asked(uuid)
    TO byokeep_web, byokeep_broker, byokeep_worker;
GRANT EXECUTE ON FUNCTION byokeep.approval_given(uuid)
    TO byokeep_web, byokeep_broker, byokeep_killswitch, byokeep_worker, byokeep_auditor;
-- broker: holds rows against their records.
GRANT EXECUTE ON FUNCTION byokeep.digest_of(jsonb), byokeep.key_row(byokeep.credential_ref),
    byokeep.account_row(byokeep.platform_account, byokeep.account_grant), byokeep.job_row(byokeep.job),
    byokeep.client_row(byokeep.client), byokeep.row_said(uuid, uuid, text), byokeep.key_said(byokeep.credential_ref)
    TO byokeep_broker;
GRANT SELECT ON byokeep.installation, byokeep.audit_record, byokeep.audit_head, byokeep.audit_epoch,
    byokeep.audit_vocabulary, byokeep.schema_objects, byokeep.alembic_version
    TO byokeep_web, byokeep_broker, byokeep_worker, byokeep_auditor;
GRANT SELECT ON byokeep.client, byokeep.credential_ref, byokeep.sop_run, byokeep.platform_account, byokeep.job,
    byokeep.lease, byokeep.permit, byokeep.switch, byokeep.approval, byokeep.alert, byokeep.key_transition,
    byokeep.account_grant, byokeep.connection, byokeep.refresh_journal, byokeep.reenabling, byokeep.scheduled_effect,
    byokeep.platform_app, byokeep.profile, byokeep.profile_account, byokeep.profile_generation, byokeep.profile_opening,
    byokeep.profile_work, byokeep.profile_incident, byokeep.profile_incident_item, byokeep.kek_version,
    byokeep.kek_rotation, byokeep.vault_key_transition, byokeep.procedure_run, byokeep.incident,
    byokeep.notification, byokeep.due_start, byokeep.tool_call, byokeep.lease_calls, byokeep.usage,
    byokeep.job_template, byokeep.dry_run, byokeep.revocation_item, byokeep.provider_usage
    TO byokeep_web, byokeep_broker, byokeep_worker, byokeep_auditor;

-- Procedures: each process moves on the runs whose steps are its own; the broker alone approves (walls.sql).
GRANT INSERT ON byokeep.procedure_run TO byokeep_web, byokeep_broker, byokeep_worker;
GRANT INSERT ON byokeep.approval TO byokeep_web, byokeep_worker;
GRANT UPDATE (revision, evidence, facts, state, reason, asked_by, due_at, closed_at, closed_by)
    ON byokeep.procedure_run TO byokeep_web, byokeep_broker, byokeep_worker;

GRANT INSERT ON byokeep.provider_usage TO byokeep_worker;

-- People of clients: the broker alone mails them; how their pages look is web's.
GRANT SELECT, INSERT ON byokeep.contact_address TO byokeep_broker;
GRANT SELECT, INSERT, UPDATE (colour, logo) ON byokeep.portal_look TO byokeep_web;

-- Incidents: whoever notices something opens one; people lead it, at web.
GRANT INSERT ON byokeep.incident TO byokeep_web, byokeep_broker, byokeep_worker;
GRANT UPDATE (ticket, ticket_at, postmortem, postmortem_sha256, closed_at, closed_by, kind, dedup_key)
    ON byokeep.incident TO byokeep_web;
GRANT UPDATE (severity, began_at, began_assumed) ON byokeep.incident TO byokeep_web, byokeep_broker, byokeep_worker;

-- web: people and their clients. It opens custody jobs alone (walls.sql), issues no lease or permit, moves no switch.
GRANT INSERT ON byokeep.job TO byokeep_web, byokeep_worker;
GRANT INSERT ON byokeep.installation TO byokeep_web;
-- web looks up whose token it is shown, and reads no password. Who makes, ends or changes any of that is the broker.
GRANT SELECT (id, kind, name, roles, state, all_clients, created_at, created_by, password_mark, record_seq, held_until,
    admin_until) ON byokeep.subject TO byokeep_web, byokeep_broker;
GRANT SELECT ON byokeep.subject_client, byokeep.api_token TO byokeep_web, byokeep_broker;
GRANT EXECUTE ON FUNCTION byokeep.subject_recorded(uuid), byokeep.token_recorded(uuid) TO byokeep_web, byokeep_broker;
GRANT EXECUTE ON FUNCTION byokeep.session_seen(uuid) TO byokeep_web;
GRANT SELECT (id, subject_id, name, created_at, used_at, ended_at) ON byokeep.passkey TO byokeep_web;
GRANT SELECT (subject_id, linked_at) ON byokeep.sso_link TO byokeep_web;
GRANT SELECT ON byokeep.passkey, byokeep.sso_link TO byokeep_broker;
GRANT SELECT (password_phc) ON byokeep.subject TO byokeep_broker;
GRANT EXECUTE ON FUNCTION byokeep.able_admins(), byokeep.machine_own(uuid, uuid), byokeep.subject_lock(),
    byokeep.subject_put(uuid, text, text, text[], text, boolean, uuid[], uuid, bigint, text, uuid, uuid, bytea),
    byokeep.password_put(uuid, text, uuid, bytea),
    byokeep.token_issue(uuid, uuid, bytea, text, bigint, uuid, bigint, text, uuid, uuid, bytea, uuid),
    byokeep.token_end(uuid, bigint, text, uuid, uuid, bytea), byokeep.passkey_recorded(uuid),
    byokeep.passkey_put(uuid, bytea, bytea, bigint, text, text, uuid, uuid, bytea),
    byokeep.passkey_end(uuid, text, uuid, uuid, bytea), byokeep.passkey_used(uuid, bigint),
    byokeep.sso_recorded(bytea), byokeep.sso_link_put(bytea, text, uuid, uuid, bytea),
    byokeep.sso_link_end(uuid, text, uuid, uuid, bytea) TO byokeep_broker;
GRANT INSERT ON byokeep.client, byokeep.credential_ref, byokeep.platform_account,
    byokeep.key_transition, byokeep.alert TO byokeep_web;
GRANT UPDATE (version, state, verification, risk, rotation_due_at, expires_at, created_at, created_by)
    ON byokeep.credential_ref TO byokeep_web;
GRANT UPDATE (previous_version, previous_until, provider_place) ON byokeep.credential_ref TO byokeep_web;
GRANT UPDATE (candidate_version, candidate_risk, candidate_due_at, candidate_at, candidate_by, candidate_place,
    candidate_expires_at, candidate_days, rotation_days)
    ON byokeep.credential_ref TO byokeep_web, byokeep_worker;
GRANT INSERT ON byokeep.connection, byokeep.platform_app TO byokeep_web;
GRANT UPDATE (app_id, redirect_uri, secret_version, set_at, set_by) ON byokeep.platform_app TO byokeep_web;
GRANT UPDATE (state, reason, code_points, answered_at, ended_at) ON byokeep.connection TO byokeep_web;
-- A person confirms a changed name, asks for a look or a renewal, or ends a grant; what it holds the worker alone says.
GRANT UPDATE (username, display_name, drift, due_at, verified_at, changed_at) ON byokeep.account_grant TO byokeep_web;
GRANT UPDATE (username, display_name, lanes, identity) ON byokeep.platform_account TO byokeep_web;
-- An admin says that a machine is gone; who takes its renewals up is the worker's.
GRANT UPDATE (reason) ON byokeep.refresh_journal TO byokeep_web;
-- A person closes an alert, at web; the broker closes those of a state that is over (rows.sql); all raise and count.
GRANT UPDATE (count, code_points, last_seen_at) ON byokeep.alert TO byokeep_web, byokeep_broker, byokeep_worker;
GRANT UPDATE (closed_at, closed_by) ON byokeep.alert TO byokeep_web, byokeep_broker;
GRANT UPDATE (acknowledged_at, acknowledged_by) ON byokeep.alert TO byokeep_web;
GRANT SELECT, INSERT, UPDATE (fingerprint) ON byokeep.value_fingerprint TO byokeep_web;
-- Nobody else reads them: digests are kept apart from every other role, also from one that can have their key.
GRANT SELECT, INSERT, UPDATE (format, digests, made_at) ON byokeep.leak_fingerprint TO byokeep_web;

-- A mass revocation: web cuts off, ends jobs (walls.sql) and notes what a person settled; the worker says how each end is.
GRANT INSERT, UPDATE (state, cause, settled_by, settled_at, changed_at) ON byokeep.revocation_item TO byokeep_web;
GRANT UPDATE (state, cause, seq, settled_by, settled_at, changed_at) ON byokeep.revocation_item TO byokeep_worker;
GRANT UPDATE (state, reason, closed_at) ON byokeep.job TO byokeep_web, byokeep_worker;
GRANT EXECUTE ON FUNCTION byokeep.hold_rows() TO byokeep_web;

-- A person makes a profile, asks for work on it, confirms who is logged in and leads the way out of a break-in; what was
-- sealed, with which key, and who has it open the others alone say.
GRANT INSERT ON byokeep.profile, byokeep.profile_account, byokeep.profile_work, byokeep.profile_incident,
    byokeep.profile_incident_item, byokeep.vault_key_transition TO byokeep_web;
GRANT UPDATE (state, reason, confirmed_at, confirmed_by, due_at, due_cause) ON byokeep.profile TO byokeep_web;
GRANT UPDATE (retired_at) ON byokeep.profile_account TO byokeep_web, byokeep_worker;
GRANT UPDATE (state, reason, confirmed_by, confirmed_at, ended_at) ON byokeep.profile_work TO byokeep_web;
GRANT UPDATE (session, session_by, session_at, new_profile_id, key_destroyed_at, identity_at, wrong_account_at)
    ON byokeep.profile_incident_item TO byokeep_web, byokeep_worker;
GRANT UPDATE (key_state) ON byokeep.profile_generation TO byokeep_web;
-- Destroys again what a restore brought back.
GRANT UPDATE (key_state) ON byokeep.profile_generation TO byokeep_broker;
GRANT INSERT ON byokeep.vault_key_transition TO byokeep_broker;
GRANT UPDATE (state, compromised_at, changed_at, changed_by) ON byokeep.kek_version TO byokeep_web;

-- broker: jobs, leases, permits, switches, checkpoints. Rows of people and tokens it writes through functions alone.
GRANT EXECUTE ON FUNCTION byokeep.end_blockers(integer), byokeep.withdraw_again(text, uuid) TO byokeep_broker;
GRANT EXECUTE ON FUNCTION byokeep.rotation_due_now(uuid, text) TO byokeep_broker;
GRANT UPDATE (state, entity_id) ON byokeep.client TO byokeep_broker;
GRANT UPDATE (identified_at, identity, lanes) ON byokeep.platform_account TO byokeep_broker;
GRANT INSERT ON byokeep.job, byokeep.lease, byokeep.permit, byokeep.switch, byokeep.approval, byokeep.alert,
    byokeep.audit_epoch TO byokeep_broker;
GRANT UPDATE (state, reason, closed_at, sealing_at) ON byokeep.job TO byokeep_broker;
GRANT INSERT ON byokeep.job_template, byokeep.dry_run TO byokeep_broker;
GRANT UPDATE (runner_id, secrets, platforms, lanes, set_at, set_by, ended_at) ON byokeep.job_template TO byokeep_broker;
GRANT UPDATE (store_recorded_at) ON byokeep.installation TO byokeep_broker;
GRANT INSERT, UPDATE ON byokeep.profile_opening TO byokeep_broker, byokeep_worker;
GRANT INSERT ON byokeep.profile_generation TO byokeep_broker, byokeep_worker;
GRANT EXECUTE ON FUNCTION byokeep.dek_used(uuid) TO byokeep_broker, byokeep_worker;
GRANT UPDATE (generation, state, reason, epoch, due_at, due_cause) ON byokeep.profile TO byokeep_broker;
GRANT UPDATE (state, closed_at) ON byokeep.permit TO byokeep_broker;
-- A person who closes a platform puts its accounts out of use there.
GRANT UPDATE (due_at, state, reason, changed_at) ON byokeep.account_grant TO byokeep_broker;
GRANT INSERT, UPDATE ON byokeep.reenabling, byokeep.scheduled_effect TO byokeep_broker;
GRANT UPDATE (closed, epoch, reason, by, at, installation_id, store_cut_off) ON byokeep.switch TO byokeep_broker;
GRANT UPDATE (approved_by, approved_at, used_at) ON byokeep.approval TO byokeep_broker;

-- killswitch: engages switches (walls.sql: it releases none), ends jobs, and knows who asks.
GRANT USAGE ON SCHEMA byokeep TO byokeep_killswitch;
GRANT EXECUTE ON FUNCTION byokeep.audit_append(uuid, text, uuid, uuid, uuid, text, bytea), byokeep.scope_lock_key(text),
    byokeep.is_owner(), byokeep.refuse_unrecorded(text), byokeep.alert_on_record(uuid, timestamptz),
    byokeep.tells_of_rotation(text), byokeep.revocation_left(uuid), byokeep.role_of(name),
    byokeep.end_blockers(integer), byokeep.subject_recorded(uuid), byokeep.token_recorded(uuid) TO byokeep_killswitch;
GRANT SELECT ON byokeep.installation, byokeep.client, byokeep.switch, byokeep.job, byokeep.approval, byokeep.alert,
    byokeep.subject_client, byokeep.api_token, byokeep.schema_objects, byokeep.alembic_version TO byokeep_killswitch;
GRANT SELECT (id, kind, name, roles, state, all_clients, created_at, created_by, password_mark, record_seq, held_until,
    admin_until) ON byokeep.subject TO byokeep_killswitch;
GRANT SELECT (client_id, provider, kind, state, provider_place) ON byokeep.credential_ref TO byokeep_killswitch;
GRANT INSERT ON byokeep.switch, byokeep.alert TO byokeep_killswitch;
GRANT UPDATE (closed, epoch, reason, by, at, installation_id, store_cut_off) ON byokeep.switch TO byokeep_killswitch;
GRANT UPDATE (state, reason, closed_at) ON byokeep.job TO byokeep_killswitch;
GRANT UPDATE (count, code_points, last_seen_at) ON byokeep.alert TO byokeep_killswitch;

-- broker: puts down what runners tell of their calls; worker: forgets what is old.
GRANT INSERT ON byokeep.tool_call, byokeep.lease_calls TO byokeep_broker;
GRANT EXECUTE ON FUNCTION byokeep.calls_forget(), byokeep.notifications_forget(), byokeep.reminders_over(text[])
    TO byokeep_worker;

-- worker: what the queue's tasks move on: verification and the sweep of orphans.
GRANT INSERT ON byokeep.key_transition, byokeep.alert TO byokeep_worker;
GRANT SELECT ON byokeep.value_fingerprint, byokeep.subject_client TO byokeep_worker;
-- worker: fingerprints of a key that it has a provider make; digests it writes and cannot read.
GRANT INSERT, UPDATE (fingerprint) ON byokeep.value_fingerprint TO byokeep_worker;
GRANT INSERT, SELECT (client_id, ref_id, version), UPDATE (format, digests, made_at) ON byokeep.leak_fingerprint
    TO byokeep_worker;
GRANT SELECT (id, kind, roles, state, all_clients, created_at) ON byokeep.subject TO byokeep_worker;
-- worker: reminds of what is due, tokens of people and machines among it, and queues and sends messages.
GRANT SELECT (name) ON byokeep.subject TO byokeep_worker;
GRANT SELECT (subject_id, kind, created_at, expires_at, revoked_at) ON byokeep.api_token TO byokeep_worker;
GRANT INSERT, UPDATE (tries, next_at, failure, sent_at) ON byokeep.notification TO byokeep_worker;
-- worker: begins by the clock what needs nobody (walls.sql).
GRANT INSERT, UPDATE (due_at, tried_at, tries) ON byokeep.due_start TO byokeep_worker;
GRANT INSERT ON byokeep.profile_work TO byokeep_worker;
GRANT UPDATE (version, state, verification, risk, rotation_due_at, expires_at, created_at, created_by)
    ON byokeep.credential_ref TO byokeep_worker;
GRANT UPDATE (provider_place) ON byokeep.credential_ref TO byokeep_worker;
-- worker: forgets a signing secret that was replaced, once it is destroyed.
GRANT UPDATE (previous_version, previous_until) ON byokeep.credential_ref TO byokeep_worker;
-- worker: connects accounts and renews their tokens; it closes a platform whose grant is lost, and opens none.
GRANT INSERT ON byokeep.credential_ref, byokeep.account_grant, byokeep.refresh_journal, byokeep.reenabling
    TO byokeep_worker;
GRANT UPDATE ON byokeep.account_grant, byokeep.refresh_journal, byokeep.reenabling TO byokeep_worker;
GRANT UPDATE (state, reason, code_points, held_as, offered, answered_at, ended_at, replaces) ON byokeep.connection
    TO byokeep_worker;
-- worker: an approved transfer serves one consent; it can use one up, and approve none.
GRANT UPDATE (used_at) ON byokeep.approval TO byokeep_worker;
GRANT UPDATE (username, display_name, identity, identified_at, lanes) ON byokeep.platform_account TO byokeep_worker;

-- worker: seals, opens, validates and shreds profiles, and moves the keys that guard them.
GRANT INSERT ON byokeep.kek_version, byokeep.kek_rotation, byokeep.vault_key_transition TO byokeep_worker;
GRANT UPDATE ON byokeep.profile_generation, byokeep.profile_work, byokeep.kek_version, byokeep.kek_rotation
    TO byokeep_worker;
GRANT UPDATE (generation, epoch, state, reason, validated_generation, validated_at, due_at, due_cause)
    ON byokeep.profile TO byokeep_worker;

-- auditor: reads everything but credentials; its reading is on record.
GRANT SELECT (id, kind, name, roles, state, all_clients, created_at, created_by) ON byokeep.subject TO byokeep_auditor;
GRANT SELECT ON byokeep.subject_client TO byokeep_auditor;

-- The queue: web and broker put jobs in, the worker runs them, the auditor has no business there.
GRANT USAGE ON SCHEMA procrastinate TO byokeep_web, byokeep_broker, byokeep_worker;
-- queueing_lock: the queue reads from the refusal which key waits already, and the refusal shows only readable columns.
GRANT SELECT (id, queueing_lock), INSERT (queue_name, task_name, queueing_lock, lock, priority, args, scheduled_at)
    ON procrastinate.procrastinate_jobs TO byokeep_web, byokeep_broker;
GRANT USAGE ON SEQUENCE procrastinate.procrastinate_jobs_id_seq TO byokeep_web, byokeep_broker;
-- An insert's own trace, in whoever's name: an event that somebody holds open would keep its job from the workers.
ALTER FUNCTION procrastinate.procrastinate_trigger_function_status_events_insert_v1()
    SECURITY DEFINER SET search_path = procrastinate, pg_catalog;
-- broker: watches over the rounds of the workers.
GRANT SELECT (task_name, defer_timestamp) ON procrastinate.procrastinate_periodic_defers TO byokeep_broker;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA procrastinate TO byokeep_worker;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA procrastinate TO byokeep_worker;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA procrastinate TO byokeep_worker;
