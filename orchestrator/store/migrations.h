/* The migrations of sql/sqlite, in order, built into the program. */
#ifndef VMFERRY_MIGRATIONS_H
#define VMFERRY_MIGRATIONS_H

struct migration {
    int number; /* 1, 2, …; 0 ends the table */
    const char *name;
    const char *sql;
};

extern const struct migration migrations[];

#endif
