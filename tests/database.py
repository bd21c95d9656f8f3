"""The store's database, for tests in Python: SQLite in the state directory, or, where MARIADB
names the directory of a server (tests/mariadb), a database there for each fresh()."""

import os
import re
import sqlite3
import subprocess

TOOL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mariadb")


def server(*words):
    done = subprocess.run([TOOL, *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError("%s: %s" % (words, done.stderr))
    return done.stdout


def fresh(name):
    """What vmferry is started with from now on is an empty database."""
    directory = os.environ.get("MARIADB")
    if not directory:
        return
    name = re.sub(r"\W", "_", name)
    server("sql", directory, "CREATE OR REPLACE DATABASE %s" % name)
    os.environ["VMFERRY_DATABASE"] = "mariadb://root@localhost/%s?socket=%s/socket" % (name, directory)


def literal(value):
    if isinstance(value, (int, float)):
        return repr(value)
    return "'%s'" % value.replace("'", "''").replace("\\", "\\\\")


def parse(text):
    if text == "NULL":
        return None
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?\d+\.\d+", text) else text


def query(state, sql, *values):
    """All rows, as sqlite3 has them."""
    database = os.environ.get("VMFERRY_DATABASE")
    if not database:
        db = sqlite3.connect(os.path.join(state, "vmferry.db"), timeout=20)
        try:
            return db.execute(sql, values).fetchall()
        finally:
            db.close()
    name = re.search(r"/(\w+)\?", database).group(1)
    for value in values:
        sql = sql.replace("?", literal(value), 1)
    out = server("sql", os.environ["MARIADB"], "USE %s; %s" % (name, sql))
    return [tuple(parse(cell) for cell in line.split("\t")) for line in out.splitlines()]
