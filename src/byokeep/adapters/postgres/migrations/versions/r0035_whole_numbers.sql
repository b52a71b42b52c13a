-- The evidence of a run are numbers of records, and a number among its facts is whole: one that no reader takes for such
-- a number hid every other run from the list. What was none proves nothing, and goes.

UPDATE byokeep.procedure_run r
   SET evidence = evidence - ARRAY(
           SELECT key FROM jsonb_each(r.evidence) WHERE value::numeric NOT BETWEEN 0 AND 9007199254740991
               OR value::numeric <> trunc(value::numeric)),
       facts = facts - ARRAY(
           SELECT key FROM jsonb_each(r.facts)
            WHERE jsonb_typeof(value) = 'number' AND (abs(value::numeric) > 9007199254740991
                  OR value::numeric <> trunc(value::numeric)))
 WHERE jsonb_path_exists(evidence, 'strict $.*?(@ < 0 || @ > 9007199254740991 || @.floor() != @)')
    OR jsonb_path_exists(facts, 'strict $.*?(@.type() == "number" && (@.abs() > 9007199254740991 || @.floor() != @))');
ALTER TABLE byokeep.procedure_run ADD CONSTRAINT procedure_run_numbers_ck CHECK (
    NOT jsonb_path_exists(evidence, 'strict $.*?(@ < 0 || @ > 9007199254740991 || @.floor() != @)')
    AND NOT jsonb_path_exists(
        facts, 'strict $.*?(@.type() == "number" && (@.abs() > 9007199254740991 || @.floor() != @))'));
