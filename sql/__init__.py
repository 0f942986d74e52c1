"""The room of SQL: what a statement is and touches. Pure: texts and catalog rows come in, values go out.

Words: *facts* are what the text alone shows; *catalog* is a snapshot of one database's system catalogs;
*reach* is facts judged with a catalog: which relations are read and written, and why an answer may not be
kept. "None" for writes always means "the whole database", and every doubt ends there.

- `facts.py`        the vocabulary: Kind, Facts, Bypass, Pin, SettingChange, ...
- `analyse.py`      text -> Facts (libpg_query); never raises
- `collect.py`      one walk over a statement's tree: relations, functions, casts, operators
- `utility.py`      Facts of the statements that are neither reads nor plain writes
- `named.py`        where a text says the name of a prepared statement; `type_oids.py` what PREPARE declares
- `settings.py`     SET, RESET, set_config -> SettingChange
- `hints.py`        `/* forebay: ... */`
- `normal.py`       digest and normalized text (shows no literal)
- `template.py`     a fast lexer: texts that may share one Facts
- `words.py`        date words such as 'now', in literals and in parameters
- `builtin.py`      vetted names of pg_catalog
- `catalog_sql.py`  the queries that load a catalog, and the probe that tells that it changed
- `catalog.py`      the snapshot; `types.py`, `functions.py` its harder conclusions
- `plpgsql.py`      the body of a trigger function -> the Facts of all that it may run
- `triggers.py`     what the triggers of a table write
- `closure.py`      which tables a write to a table may write
- `views.py`        the statements behind the names of views
- `unseen.py`       what a statement runs that its text does not show
- `reach.py`        Facts + Catalog -> Reach
"""
