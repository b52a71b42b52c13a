-- Arguments of tasks are ids and scopes: no place for a value, whatever a caller hands over. `strict`, because a lax
-- path would look into an array and find its strings fine. Run once, when the queue's own tables have just been made.
ALTER TABLE procrastinate.procrastinate_jobs ADD CONSTRAINT procrastinate_jobs_args_are_ids CHECK (
    jsonb_typeof(args) = 'object'
    AND NOT jsonb_path_exists(args, 'strict $.* ? (@.type() != "string" && @.type() != "number")', '{}', true)
    AND NOT jsonb_path_exists(
        args, 'strict $.* ? (@.type() == "string" && !(@ like_regex "^[a-z0-9_:./-]{0,128}$"))', '{}', true
    )
);
SET LOCAL search_path = pg_catalog;
