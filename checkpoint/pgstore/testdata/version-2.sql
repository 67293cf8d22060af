
-- Where changes are replicated logically the server refuses UPDATE and DELETE on a table
-- whose rows it can't name. Somebody may have seen to that by hand.
DO $do$ BEGIN
	IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = '$S.callback'::regclass AND contype = 'p') THEN
		ALTER TABLE $S.callback ADD COLUMN id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY;
	END IF;
END $do$;
