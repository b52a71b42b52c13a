-- People, machines and tokens stand with the record that says what their row says, frozen; see tables.py.

ALTER TABLE byokeep.subject
    ADD COLUMN password_mark TEXT,
    ADD COLUMN record_seq BIGINT,
    ADD COLUMN held_until TIMESTAMP WITH TIME ZONE;
ALTER TABLE byokeep.api_token
    ADD COLUMN record_seq BIGINT,
    ADD COLUMN issued_by UUID,
    DROP CONSTRAINT api_token_kind_ck,
    ADD CONSTRAINT api_token_kind_ck CHECK (kind IN ('api', 'session', 'invitation'));
ALTER TABLE byokeep.approval
    ADD COLUMN asked TEXT,
    DROP CONSTRAINT approval_action_ck,
    ADD CONSTRAINT approval_action_ck CHECK (
        action IN ('open_switch', 'start_canary', 'transfer_account', 'give_rights'));
CREATE INDEX audit_record_subject_ix ON byokeep.audit_record (object_id, seq)
 WHERE outcome = 'ok'
   AND event IN ('operator.created', 'operator.changed', 'machine.created', 'machine.changed', 'token.revoked');

UPDATE byokeep.subject SET password_mark = encode(sha256(convert_to(password_phc, 'UTF8')), 'hex')
 WHERE password_phc IS NOT NULL;

-- Once, for what the release before this one made: each person and machine, and each live token that was recorded when
-- it was issued, gets a record in the form that is asked for from now on. A token that nothing recorded gets none.
UPDATE byokeep.audit_vocabulary
   SET writers = writers || 'byokeep_owner'::text
 WHERE event IN ('operator.changed', 'machine.changed', 'token.issued') AND NOT 'byokeep_owner' = ANY (writers);

DO $$
DECLARE
    v_installation uuid := (SELECT id FROM byokeep.installation);
    v_one   record;
    v_event text;
    v_front text;
    v_seq   bigint;
BEGIN
    FOR v_one IN
        SELECT s.id, s.kind, array_to_string(ARRAY(SELECT unnest(s.roles) ORDER BY 1), ',') AS roles,
               encode(sha256(convert_to(concat_ws('|', s.id, s.kind, s.name,
                   array_to_string(ARRAY(SELECT unnest(s.roles) ORDER BY 1), ','), s.state,
                   CASE WHEN s.all_clients THEN 'all' ELSE 'some' END,
                   array_to_string(ARRAY(SELECT c.client_id FROM byokeep.subject_client c
                                          WHERE c.subject_id = s.id ORDER BY 1), ','),
                   coalesce(s.password_mark, '')), 'UTF8')), 'hex') AS rights
          FROM byokeep.subject s WHERE v_installation IS NOT NULL ORDER BY s.created_at, s.id
    LOOP
        v_event := CASE v_one.kind WHEN 'machine' THEN 'machine.changed' ELSE 'operator.changed' END;
        v_front := format('{"actor":"%s","client":null,"event":"%s","fields":', v_installation, v_event);
        SELECT seq INTO v_seq FROM byokeep.audit_append(
            v_installation, v_event, v_installation, v_one.id, v_one.id, 'ok', convert_to(v_front || format(
                '{"reason":"adopted","rights":"%s","roles":"%s","subject":"%s"},"object":"%s","outcome":"ok",'
                '"request":"%s","roles":["system"],"v":1}',
                v_one.rights, v_one.roles, v_one.id, v_one.id, v_one.id), 'UTF8'));
        UPDATE byokeep.subject SET record_seq = v_seq WHERE id = v_one.id;
    END LOOP;
    FOR v_one IN
        SELECT t.id, t.subject_id, t.kind, encode(sha256(t.keyed_hash), 'hex') AS digest,
               ceil(extract(epoch FROM t.expires_at - now()))::bigint AS life_s
          FROM byokeep.api_token t
         WHERE v_installation IS NOT NULL AND t.revoked_at IS NULL AND t.expires_at > now()
           AND EXISTS (SELECT FROM byokeep.audit_record r
                        WHERE r.chain = v_installation AND r.object_id = t.subject_id
                          AND r.event IN ('token.issued', 'session.login') AND r.outcome = 'ok'
                          AND convert_from(r.payload, 'UTF8')::jsonb #>> '{fields,token}' = t.id::text)
         ORDER BY t.created_at, t.id
    LOOP
        SELECT seq INTO v_seq FROM byokeep.audit_append(
            v_installation, 'token.issued', v_installation, v_one.subject_id, v_one.id, 'ok', convert_to(format(
                '{"actor":"%s","client":null,"event":"token.issued","fields":{"digest":"%s","kind":"%s","life_s":%s,'
                '"reason":"adopted","subject":"%s","token":"%s"},"object":"%s","outcome":"ok","request":"%s",'
                '"roles":["system"],"v":1}', v_installation, v_one.digest, v_one.kind, v_one.life_s, v_one.subject_id,
                v_one.id, v_one.subject_id, v_one.id), 'UTF8'));
        UPDATE byokeep.api_token SET record_seq = v_seq WHERE id = v_one.id;
    END LOOP;
END
$$;
