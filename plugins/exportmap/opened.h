/* Telling nbdkit-exportmap-server, when it started us, that our client has opened an export,
 * so that it may take its time from now on. EXPORTMAP_OPENED_FD in the environment names the
 * pipe to write our pid_t to. Without it nothing is done. */
#ifndef EXPORTMAP_OPENED_H
#define EXPORTMAP_OPENED_H

/* Take the descriptor out of the environment; programs that we start do not get it. Once,
 * before any thread. */
void opened_init(void);

/* Say it; only the first call does anything. Thread-safe. */
void opened_report(void);

#endif
