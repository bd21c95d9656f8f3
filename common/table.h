/* Tables for people: cells are gathered, columns get the width of their widest
 * cell, numbers go to the right. No lines, no colours, so that awk reads them too.
 *
 *     CLEANUP_TABLE struct table table = TABLE("NAME", ">BYTES", "?TOOLS");
 *                     '>': to the right; '?', before it: left out when no row has anything
 *     table_cell(&table, "%s", name);  table_cell(&table, "%llu", bytes);
 *     table_print(&table, stdout);                                                     */
#ifndef VMFERRY_TABLE_H
#define VMFERRY_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "cleanup.h"

struct table {
    const char *const *heads;
    size_t columns;
    char **cells; /* row after row */
    size_t count, room;
};

#define TABLE(...)                                                                                 \
    {                                                                                              \
        .heads = (const char *const[]){ __VA_ARGS__ },                                             \
        .columns = sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *)             \
    }

/* An empty text is shown as "-". Without memory the cell stays empty. */
void table_cell(struct table *table, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void table_print(const struct table *table, FILE *out);
void table_free(struct table *table);
#define CLEANUP_TABLE CLEANUP(table_free)

/* "2026-11-21 02:14:41" in local time; "-" for 0. */
#define TIME_TEXT 32
const char *time_text(char buf[TIME_TEXT], int64_t ms);

#endif
