/* Text from other systems, made safe for where it goes. What comes in: bytes that may be
 * anything. What goes out: valid UTF-8 that says the same, or U+FFFD where it can't. */
#ifndef VMFERRY_ESCAPE_H
#define VMFERRY_ESCAPE_H

#include <stdio.h>

/* Between the quotes of a JSON string. */
void escape_json(FILE *out, const char *text);

/* In HTML and XML, between tags or between the quotes of an attribute. Control characters,
 * which XML can't say, become U+FFFD; newline and tab stay. */
void escape_html(FILE *out, const char *text);

/* On a terminal: control characters become '?', so that nobody's VM name moves the cursor;
 * newline and tab stay. */
void escape_terminal(FILE *out, const char *text);

/* As much of it as fits, size > 4, in valid UTF-8. */
void copy_utf8(char *buf, size_t size, const char *text);

/* Takes the secret out of each "scheme://user:secret@host". */
void mask_secrets(char *text);

/* The next character of `text` (not at its end) in *code, 0xfffd for a byte that is no UTF-8.
 * Returns how many bytes it takes. */
int utf8_next(const char *text, unsigned *code);

#endif
