/* The migrations of sql/sqlite and sql/mariadb, in order, built into the program: the
 * same numbers and names for both (scripts/embed-sql sees to it). */
#ifndef VMFERRY_MIGRATIONS_H
#define VMFERRY_MIGRATIONS_H

struct migration {
    int number; /* 1, 2, …; 0 ends the table */
    const char *name;
    const char *const *statements; /* ends with NULL */
};

extern const struct migration sqlite_migrations[];
extern const struct migration mariadb_migrations[];

#endif
