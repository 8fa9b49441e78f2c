/*
 * Talkwire's mutex for C programs: one header, Linux, no library. spec/sync.md is what it keeps to, and its numbers are meant
 * by the paragraphs below. Every function returns 0 or an errno; TW_ABANDONED is no failure.
 *
 *   struct tw_mutex mutex;
 *   tw_mutex_open(&mutex, "bank");
 *   int how = tw_mutex_lock(&mutex, -1);           milliseconds, -1: as long as it takes; blocks this thread
 *   if (how == TW_ABANDONED) { …make the data whole…; tw_mutex_repaired(&mutex); }
 *   tw_mutex_unlock(&mutex);
 *
 * One thread at a time uses a struct tw_mutex; threads open one each and wait for each other like processes. After fork(2)
 * the child opens its own.
 */
#ifndef TALKWIRE_SYNC_H
#define TALKWIRE_SYNC_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define TW_ABANDONED (-1)

enum { TW_KIND_MUTEX = 0x54570101, TW_LOCK_BYTES = 1024, TW_WAITERS = 29, TW_SPINS = 100, TW_FIRST_LOOK = 4, TW_LAST_LOOK = 32, TW_HUNGRY = 2 };

/* § 3 */
struct tw_waiter {
    int64_t who;
    uint32_t sequence, bell;
    double since;
    uint32_t rung, mode;
};
struct tw_lock {
    uint32_t kind, flags;
    int64_t owner;
    double fence, since;
    uint32_t damaged, waiting, sequence, hungry, limit, value, spare[2];
    char label[32];
    struct tw_waiter waiters[TW_WAITERS];
};
_Static_assert(sizeof(struct tw_lock) == TW_LOCK_BYTES, "the layout of spec/sync.md");

struct tw_mutex {
    struct tw_lock *lock;
    int fd, bell[2];
    int64_t self;
};

#define TW_LOAD(word) __atomic_load_n(&(word), __ATOMIC_SEQ_CST)
#define TW_STORE(word, value) __atomic_store_n(&(word), (value), __ATOMIC_SEQ_CST)

static inline int tw_swap64(int64_t *word, int64_t from, int64_t to) {
    return __atomic_compare_exchange_n(word, &from, to, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
static inline int tw_swap32(uint32_t *word, uint32_t from, uint32_t to) {
    return __atomic_compare_exchange_n(word, &from, to, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static inline double tw_now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

/* § 2: who runs under this id; 0 for nobody, a zombie too. */
static inline int64_t tw_owner_of(int id) {
    char path[32], text[1024], state = 0;
    unsigned long long start = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", id);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    if (size <= 0) return 0;
    text[size] = 0;
    char *fields = strrchr(text, ')');
    if (!fields || sscanf(fields + 2, "%c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &state, &start) != 2) return 0;
    if (state == 'Z' || state == 'X') return 0;
    return (int64_t)((uint64_t)id << 42 | (start & ((1ULL << 42) - 1)));
}
static inline int tw_id(int64_t owner) { return (int)((uint64_t)owner >> 42); }
static inline int tw_alive(int64_t owner) { return owner != 0 && tw_owner_of(tw_id(owner)) == owner; }

/* § 4 */
static inline void tw_ring(int64_t who, uint32_t bell) {
    char path[48];
    struct stat stat;
    snprintf(path, sizeof path, "/proc/%d/fd/%u", tw_id(who), bell);
    /* For reading too: else the death of the only reader would be a SIGPIPE here. */
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return;
    if (fstat(fd, &stat) == 0 && S_ISFIFO(stat.st_mode) && tw_alive(who)) (void)!write(fd, ".", 1);
    close(fd);
}

static inline int tw_clear_dead(struct tw_waiter *waiter) {
    int64_t who = TW_LOAD(waiter->who);
    return who != 0 && !tw_alive(who) && tw_swap64(&waiter->who, who, 0);
}

static inline struct tw_waiter *tw_first(struct tw_lock *lock) {
    struct tw_waiter *first = NULL;
    uint32_t lowest = 0;
    for (struct tw_waiter *waiter = lock->waiters; waiter < lock->waiters + TW_WAITERS; waiter++) {
        uint32_t sequence = TW_LOAD(waiter->sequence);
        if (sequence == 0 || TW_LOAD(waiter->who) == 0 || (first && (int32_t)(sequence - lowest) >= 0)) continue;
        first = waiter;
        lowest = sequence;
    }
    return first;
}

static inline void tw_wake_first(struct tw_lock *lock) {
    if (TW_LOAD(lock->waiting) == 0) return;
    TW_STORE(lock->waiting, 0);
    for (struct tw_waiter *first; (first = tw_first(lock));) {
        TW_STORE(lock->waiting, 1);
        if (!tw_swap32(&first->rung, 0, 1)) return;
        int64_t who = TW_LOAD(first->who);
        tw_ring(who, TW_LOAD(first->bell));
        if (tw_alive(who) || !tw_clear_dead(first)) return;
    }
}

static inline struct tw_waiter *tw_enqueue(struct tw_mutex *mutex) {
    struct tw_lock *lock = mutex->lock;
    for (int purge = 0; purge < 2; purge++)
        for (struct tw_waiter *waiter = lock->waiters; waiter < lock->waiters + TW_WAITERS; waiter++) {
            if (purge) tw_clear_dead(waiter);
            if (!tw_swap64(&waiter->who, 0, mutex->self)) continue;
            TW_STORE(waiter->sequence, 0);
            TW_STORE(waiter->bell, (uint32_t)mutex->bell[0]);
            TW_STORE(waiter->rung, 0);
            TW_STORE(waiter->mode, 0);
            waiter->since = tw_now(CLOCK_REALTIME);
            uint32_t sequence;
            while ((sequence = __atomic_add_fetch(&lock->sequence, 1, __ATOMIC_SEQ_CST)) == 0) {}
            TW_STORE(waiter->sequence, sequence);
            TW_STORE(lock->waiting, 1);
            return waiter;
        }
    return NULL;
}

static inline int tw_is_first(struct tw_lock *lock, struct tw_waiter *mine) {
    for (struct tw_waiter *first; (first = tw_first(lock));) {
        if (first == mine) return 1;
        if (!tw_clear_dead(first)) return 0;
    }
    return 1;
}

static inline int tw_may_go(struct tw_lock *lock, struct tw_waiter *mine) {
    int strict = TW_LOAD(lock->hungry) || (TW_LOAD(lock->flags) & 1);
    return !strict || TW_LOAD(lock->waiting) == 0 || tw_is_first(lock, mine);
}

/* § 5: 1 when it was taken. */
static inline int tw_take(struct tw_mutex *mutex, int late) {
    struct tw_lock *lock = mutex->lock;
    int64_t owner = TW_LOAD(lock->owner);
    if (owner != 0) {
        if (!late || tw_alive(owner) || !tw_swap64(&lock->owner, owner, mutex->self)) return 0;
        TW_STORE(lock->damaged, 1);
    } else if (!tw_swap64(&lock->owner, 0, mutex->self))
        return 0;
    double fence = lock->fence;
    lock->fence = (fence == 0 ? tw_now(CLOCK_REALTIME) * 1e3 : fence) + 1;
    lock->since = tw_now(CLOCK_REALTIME);
    memset(lock->label, 0, sizeof lock->label);
    return 1;
}

static inline int tw_mutex_open(struct tw_mutex *mutex, const char *name) {
    char path[PATH_MAX];
    struct stat stat;
    snprintf(path, sizeof path, "/dev/shm/talkwire-%u-mutex-%s", (unsigned)getuid(), name);
    for (;;) {
        int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 && errno == ENOENT) {
            /* It gets its name when it is complete; a kept segment needs no record (spec/memory.md § 2). */
            char self[48];
            if ((fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)) < 0) return errno;
            snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
            if (posix_fallocate(fd, 0, TW_LOCK_BYTES) != 0 || flock(fd, LOCK_SH) != 0 ||
                (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) != 0 && errno != EEXIST)) {
                close(fd);
                return ENOSPC;
            }
            if (fstat(fd, &stat) != 0 || stat.st_nlink == 0) {
                close(fd); /* another one was first */
                continue;
            }
        } else if (fd < 0)
            return errno;
        if (flock(fd, LOCK_SH) != 0 || fstat(fd, &stat) != 0 || stat.st_nlink == 0) {
            close(fd);
            continue;
        }
        if (stat.st_size < TW_LOCK_BYTES) {
            close(fd);
            return EINVAL;
        }
        mutex->fd = fd;
        break;
    }
    mutex->lock = mmap(NULL, TW_LOCK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, mutex->fd, 0);
    if (mutex->lock == MAP_FAILED) return errno;
    if (TW_LOAD(mutex->lock->kind) != TW_KIND_MUTEX && !tw_swap32(&mutex->lock->kind, 0, TW_KIND_MUTEX) && TW_LOAD(mutex->lock->kind) != TW_KIND_MUTEX)
        return EINVAL;
    mutex->self = tw_owner_of(getpid());
    return pipe2(mutex->bell, O_NONBLOCK | O_CLOEXEC) == 0 ? 0 : errno;
}

/* 0, TW_ABANDONED, EBUSY. Does not block. */
static inline int tw_mutex_trylock(struct tw_mutex *mutex) {
    if (!tw_may_go(mutex->lock, NULL) || !tw_take(mutex, 1)) return EBUSY;
    return TW_LOAD(mutex->lock->damaged) ? TW_ABANDONED : 0;
}

static inline void tw_leave(struct tw_lock *lock, struct tw_waiter *place, int taken) {
    if (!place) return;
    if (TW_LOAD(lock->hungry) && tw_is_first(lock, place)) TW_STORE(lock->hungry, 0);
    TW_STORE(place->sequence, 0);
    TW_STORE(place->who, 0);
    if (!taken) tw_wake_first(lock);
}

/* 0, TW_ABANDONED, ETIMEDOUT. Blocks this thread for at most so many milliseconds; -1: as long as it takes. */
static inline int tw_mutex_lock(struct tw_mutex *mutex, double milliseconds) {
    struct tw_lock *lock = mutex->lock;
    struct tw_waiter *place = NULL;
    double begin = tw_now(CLOCK_MONOTONIC), end = milliseconds < 0 ? 1e300 : begin + milliseconds;
    int pause = TW_FIRST_LOOK, taken = 0, watched = -1;
    int64_t owner = 0;
    double left = -1;
    for (int spin = 0; spin < TW_SPINS && !taken; spin++) taken = tw_may_go(lock, NULL) && tw_take(mutex, 0);
    for (int late = 0; !taken;) {
        if (place) TW_STORE(place->rung, 0);
        else place = tw_enqueue(mutex);
        if ((taken = tw_may_go(lock, place) && tw_take(mutex, late))) break;
        double now = tw_now(CLOCK_MONOTONIC);
        if (late) {
            int64_t there = TW_LOAD(lock->owner);
            double grant = there == 0 || !tw_alive(there) ? lock->fence : -1;
            if (grant >= 0 && grant == left && (taken = tw_take(mutex, 1))) break;
            left = grant;
            pause = there == owner ? (2 * pause < TW_LAST_LOOK ? 2 * pause : TW_LAST_LOOK) : TW_FIRST_LOOK;
            if (there != owner) {
                if (watched >= 0) close(watched);
                watched = there != 0 && there != mutex->self ? (int)syscall(SYS_pidfd_open, tw_id(there), 0) : -1;
                owner = there;
            }
        }
        if (now - begin > TW_HUNGRY && place) TW_STORE(lock->hungry, 1);
        if (now >= end) break;
        struct pollfd fds[2] = {{mutex->bell[0], POLLIN, 0}, {watched, POLLIN, 0}};
        double wait = end - now < pause ? end - now : pause;
        int ready = poll(fds, 2, (int)wait + 1);
        late = ready <= 0 || (fds[1].revents & POLLIN);
        char rings[256];
        if (ready > 0 && (fds[0].revents & POLLIN)) (void)!read(mutex->bell[0], rings, sizeof rings);
    }
    if (watched >= 0) close(watched);
    tw_leave(lock, place, taken);
    if (!taken) return ETIMEDOUT;
    return TW_LOAD(lock->damaged) ? TW_ABANDONED : 0;
}

/* The number of the grant: larger than all before. While it is held. */
static inline double tw_mutex_fence(const struct tw_mutex *mutex) { return mutex->lock->fence; }

/* While it is held: the data are whole again. */
static inline void tw_mutex_repaired(struct tw_mutex *mutex) { TW_STORE(mutex->lock->damaged, 0); }

static inline void tw_mutex_unlock(struct tw_mutex *mutex) {
    tw_swap64(&mutex->lock->owner, mutex->self, 0);
    tw_wake_first(mutex->lock);
}

/* Takes the name away when nobody else has it open and nobody died within: § 1. */
static inline void tw_mutex_close(struct tw_mutex *mutex, const char *name) {
    char path[PATH_MAX];
    struct stat there, mine;
    snprintf(path, sizeof path, "/dev/shm/talkwire-%u-mutex-%s", (unsigned)getuid(), name);
    int idle = TW_LOAD(mutex->lock->owner) == 0 && TW_LOAD(mutex->lock->damaged) == 0;
    flock(mutex->fd, LOCK_UN);
    if (idle && flock(mutex->fd, LOCK_EX | LOCK_NB) == 0 && stat(path, &there) == 0 && fstat(mutex->fd, &mine) == 0 && there.st_ino == mine.st_ino) unlink(path);
    close(mutex->fd);
    close(mutex->bell[0]);
    close(mutex->bell[1]);
}

#endif
