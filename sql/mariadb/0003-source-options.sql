-- What a kind of source needs beside its location, as a JSON object. Never a secret.

ALTER TABLE sources ADD COLUMN IF NOT EXISTS options MEDIUMTEXT;
