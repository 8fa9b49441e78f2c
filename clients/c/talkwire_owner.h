/* Who holds, writes or waits, as one word of 64 bits, and how it is woken: spec/sync.md § 2 and § 4. Linux. */
#ifndef TALKWIRE_OWNER_H
#define TALKWIRE_OWNER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Milliseconds. */
static inline double tw_now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

/* Field 3 of /proc/<id>/stat, and 22 in *start; 0 when there is no such process. */
static inline char tw_state_of(int id, unsigned long long *start) {
    char path[32], text[1024], state = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", id);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    if (size <= 0) return 0;
    text[size] = 0;
    const char *fields = strrchr(text, ')');
    if (!fields || sscanf(fields + 2, "%c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &state, start) != 2) return 0;
    return state;
}

/* § 2: who runs under this id; 0 for nobody, a zombie too. */
static inline int64_t tw_owner_of(int id) {
    unsigned long long start = 0;
    char state = tw_state_of(id, &start);
    if (state == 0 || state == 'Z' || state == 'X') return 0;
    return (int64_t)((uint64_t)id << 42 | (start & ((1ULL << 42) - 1)));
}
static inline int tw_id(int64_t owner) { return (int)((uint64_t)owner >> 42); }
static inline int tw_alive(int64_t owner) { return owner != 0 && tw_owner_of(tw_id(owner)) == owner; }

/* A byte into the pipe of one who waits. 0 when that cannot be done. */
static inline int tw_ring(int64_t who, uint32_t bell) {
    char path[48];
    struct stat found;
    snprintf(path, sizeof path, "/proc/%d/fd/%u", tw_id(who), bell);
    /* For reading too: else the death of the only reader would be a SIGPIPE here. */
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return 0;
    int rung = fstat(fd, &found) == 0 && S_ISFIFO(found.st_mode) && tw_alive(who);
    if (rung) rung = write(fd, ".", 1) == 1 || errno == EAGAIN; /* full: it was rung */
    close(fd);
    return rung;
}

#endif
