-- Every table of ours as SQL, with what it is for.
WITH ours AS (SELECT oid, relname FROM pg_class WHERE relnamespace = 'byokeep'::regnamespace AND relkind IN ('r', 'p')
              AND relname <> 'alembic_version'),
     line (of, kind, place, says, why) AS (
  SELECT attrelid, 1, attnum::text, quote_ident(attname) || ' ' || format_type(atttypid, atttypmod)
         || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END || coalesce(' DEFAULT ' || pg_get_expr(adbin, adrelid), '')
         || CASE WHEN attidentity <> '' THEN ' IDENTITY' ELSE '' END, col_description(attrelid, attnum)
    FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attnum > 0 AND NOT attisdropped
  UNION ALL
  SELECT conrelid, 2, conname, 'CONSTRAINT ' || conname || ' ' || pg_get_constraintdef(oid),
         obj_description(oid, 'pg_constraint')
    FROM pg_constraint WHERE contype NOT IN ('n', 't')  -- NOT NULL, said above; triggers, which are declared
  UNION ALL
  SELECT indrelid, 3, indexrelid::regclass::text, pg_get_indexdef(indexrelid) || ';', obj_description(indexrelid, 'pg_class')
    FROM pg_index WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
), told AS (SELECT *, coalesce('-- ' || why || E'\n', '') AS said,
                   row_number() OVER (PARTITION BY of, kind ORDER BY length(place) * (kind = 1)::int, place) AS n FROM line)
SELECT string_agg(
  coalesce(E'\n-- ' || obj_description(ours.oid, 'pg_class'), '') || E'\nCREATE TABLE byokeep.' || relname || E' (\n'
  || (SELECT string_agg(replace(said, '--', '    --') || '    ' || says, E',\n' ORDER BY kind, n) FROM told
       WHERE of = ours.oid AND kind < 3) || E'\n);'
  || coalesce((SELECT E'\n' || string_agg(said || says, E'\n' ORDER BY n) FROM told WHERE of = ours.oid AND kind = 3), ''),
  E'\n' ORDER BY relname) FROM ours
