/*
 * What all of Talkwire's locks have in common: their words, who waits and who wakes. Programs include talkwire_sync.h, or the
 * header of the kind that they use. spec/sync.md is what it keeps to, and its numbers are meant by the paragraphs below.
 * C11 or C++, Linux, GCC or Clang, no library.
 *
 * Every function returns 0 or an errno; TW_ABANDONED is no failure. Waits take milliseconds, -1: as long as it takes; they block
 * this thread, which looks by itself at least every 32 ms. One thread at a time uses a struct; threads open one each, and wait
 * for each other like processes. After fork(2) the child opens its own.
 */
#ifndef TALKWIRE_LOCK_H
#define TALKWIRE_LOCK_H

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

#include "talkwire_owner.h"
#include "talkwire_store.h"

/* It was taken, and whoever had it before died with it. */
#define TW_ABANDONED (-1)

enum { TW_MUTEX = 0x54570101, TW_SEMAPHORE, TW_RWLOCK, TW_CONDITION, TW_BARRIER, TW_EVENT, TW_ONCE };
enum { TW_FAIR = 1, TW_COUNTING = 2 };
/* Modes of a condition's waiters; 0: it waits. */
#define TW_NOTIFIED 1U
#define TW_GONE 2U
enum { TW_LOCK_BYTES = 1024, TW_WAITERS = 29, TW_SLOTS = 128, TW_NAME = 64, TW_LABEL = 32, TW_SPINS = 100 };
/* Milliseconds. */
#define TW_FIRST_LOOK 4.0
#define TW_LAST_LOOK 32.0
#define TW_HUNGRY 2.0

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
    int64_t fence; /* the bits of a double, but for semaphores */
    double since;
    uint32_t damaged, waiting, sequence, hungry, limit, value, deaths, spare;
    char label[TW_LABEL];
    struct tw_waiter waiters[TW_WAITERS];
};
#ifdef __cplusplus
static_assert(sizeof(struct tw_lock) == TW_LOCK_BYTES, "the layout of spec/sync.md");
#else
_Static_assert(sizeof(struct tw_lock) == TW_LOCK_BYTES, "the layout of spec/sync.md");
#endif

/* One lock, as one thread has it open. */
struct tw_handle {
    struct tw_lock *lock;
    int fd, bell[2];
    int64_t self;
    char path[48 + TW_NAME], label[TW_LABEL];
};

/* § 5: the number of a grant to one alone. It is not one step. */
static inline double tw_fence(const struct tw_lock *lock) {
    int64_t bits = TW_LOAD(lock->fence);
    double fence;
    memcpy(&fence, &bits, sizeof fence);
    return fence;
}
static inline void tw_next_fence(struct tw_lock *lock) {
    double fence = tw_fence(lock);
    int64_t bits;
    fence = (fence > 0 ? fence : (double)(int64_t)(tw_now(CLOCK_REALTIME) * 1e3)) + 1;
    memcpy(&bits, &fence, sizeof bits);
    TW_STORE(lock->fence, bits);
    TW_PUT(lock->since, tw_now(CLOCK_REALTIME));
}

/* § 4: who waits, and who is woken. */

/* Whoever comes into the place of a dead one must not be rung at its bell: that may be anything in the new process. */
static inline void tw_forget_sequence(struct tw_waiter *waiter) {
    uint32_t sequence = TW_LOAD(waiter->sequence);
    if (sequence != 0) tw_swap32(&waiter->sequence, sequence, 0);
}

static inline int tw_clear_dead(struct tw_waiter *waiter) {
    int64_t who = TW_LOAD(waiter->who);
    if (who == 0 || tw_alive(who)) return 0;
    tw_forget_sequence(waiter);
    return tw_swap64(&waiter->who, who, 0);
}

/* 0 when the one in that place cannot be rung. */
static inline int tw_ring_at(const struct tw_waiter *waiter) {
    uint32_t sequence = TW_LOAD(waiter->sequence);
    int64_t who = TW_LOAD(waiter->who);
    uint32_t bell = TW_LOAD(waiter->bell);
    /* Both are of the same one only when that is still there; who left looked by itself. */
    return sequence == 0 || sequence != TW_LOAD(waiter->sequence) || tw_ring(who, bell);
}

/* Says again that somebody waits: whoever was about to say so may have died. */
static inline void tw_remain(struct tw_lock *lock) {
    if (TW_LOAD(lock->waiting) == 0) TW_STORE(lock->waiting, 1U);
}

static inline int tw_counts(const struct tw_waiter *waiter) { return TW_LOAD(waiter->sequence) != 0 && TW_LOAD(waiter->who) != 0; }

/* The first of those who wait; with `unnotified`, of those whose mode is 0. */
static inline struct tw_waiter *tw_first_of(struct tw_lock *lock, int unnotified) {
    struct tw_waiter *first = NULL;
    uint32_t lowest = 0;
    for (struct tw_waiter *waiter = lock->waiters; waiter < lock->waiters + TW_WAITERS; waiter++) {
        uint32_t sequence = TW_LOAD(waiter->sequence);
        if (!tw_counts(waiter) || (unnotified && TW_LOAD(waiter->mode) != 0) || (first && (int32_t)(sequence - lowest) >= 0)) continue;
        first = waiter;
        lowest = sequence;
    }
    return first;
}
static inline struct tw_waiter *tw_first(struct tw_lock *lock) { return tw_first_of(lock, 0); }

static inline void tw_wake_first(struct tw_lock *lock) {
    if (TW_LOAD(lock->waiting) == 0) return;
    TW_STORE(lock->waiting, 0U);
    for (struct tw_waiter *first; (first = tw_first(lock));) {
        TW_STORE(lock->waiting, 1U);
        if (!tw_swap32(&first->rung, 0, 1)) return;
        if (tw_ring_at(first) || !tw_clear_dead(first)) return;
    }
}

static inline void tw_wake_all(struct tw_lock *lock) {
    if (TW_LOAD(lock->waiting) == 0) return;
    TW_STORE(lock->waiting, 0U);
    for (struct tw_waiter *waiter = lock->waiters; waiter < lock->waiters + TW_WAITERS; waiter++) {
        if (!tw_counts(waiter)) continue;
        TW_STORE(lock->waiting, 1U);
        if (tw_swap32(&waiter->rung, 0, 1)) tw_ring_at(waiter);
    }
}

/* A place at the end. NULL when all are taken: then one waits without being woken. */
static inline struct tw_waiter *tw_enqueue(struct tw_handle *handle) {
    struct tw_lock *lock = handle->lock;
    for (int dead = 0; dead < 2; dead++)
        for (struct tw_waiter *waiter = lock->waiters; waiter < lock->waiters + TW_WAITERS; waiter++) {
            int64_t who = dead ? TW_LOAD(waiter->who) : 0;
            if (dead && (who == 0 || tw_alive(who))) continue;
            if (dead) tw_forget_sequence(waiter);
            if (!tw_swap64(&waiter->who, who, handle->self)) continue;
            /* Whom a dead one was to tell of a change that it was told of is its successor. */
            uint32_t mode = dead && TW_LOAD(waiter->mode) == TW_NOTIFIED ? TW_NOTIFIED : 0;
            TW_STORE(waiter->sequence, 0U); /* a dead one's may still stand there */
            TW_STORE(waiter->bell, (uint32_t)handle->bell[0]);
            TW_STORE(waiter->rung, 0U);
            TW_STORE(waiter->mode, mode);
            TW_PUT(waiter->since, tw_now(CLOCK_REALTIME));
            uint32_t sequence;
            while ((sequence = TW_ADD(lock->sequence, 1U)) == 0) {
            }
            TW_STORE(waiter->sequence, sequence);
            TW_STORE(lock->waiting, 1U);
            return waiter;
        }
    return NULL;
}

static inline void tw_dequeue(struct tw_waiter *place) {
    TW_STORE(place->sequence, 0U);
    TW_STORE(place->who, (int64_t)0);
}

static inline int tw_is_first(struct tw_lock *lock, const struct tw_waiter *mine) {
    for (struct tw_waiter *first; (first = tw_first(lock));) {
        if (first == mine) return 1;
        if (!tw_clear_dead(first)) return 0;
    }
    return 1;
}

static inline int tw_may_go(struct tw_lock *lock, const struct tw_waiter *mine) {
    int strict = TW_LOAD(lock->hungry) || (TW_LOAD(lock->flags) & TW_FAIR);
    return !strict || TW_LOAD(lock->waiting) == 0 || tw_is_first(lock, mine);
}

/* Readable once that owner has ended; -1 for nobody, the dead, threads and oneself. */
static inline int tw_watch(const struct tw_handle *handle, int64_t owner) {
    if (owner == 0 || owner == handle->self) return -1;
    int fd = (int)syscall(SYS_pidfd_open, tw_id(owner), 0);
    if (fd < 0 || tw_alive(owner)) return fd;
    close(fd);
    return -1;
}

/*
 * Sleeps until `attempt` returns something else than 0, which is returned: 1, or a negative errno. `late`: nobody rang, so whoever
 * has it may be dead. `owner`: whose end would change that. -ETIMEDOUT after so many milliseconds.
 */
struct tw_wait {
    int (*attempt)(void *subject, int late);
    int64_t (*owner)(void *subject);
};
static inline int tw_wait_until(struct tw_handle *handle, const struct tw_wait *how, void *subject, double milliseconds) {
    double now = tw_now(CLOCK_MONOTONIC), end = milliseconds < 0 ? 1e300 : now + milliseconds, pause = TW_FIRST_LOOK, next = now + pause;
    int watched = -1, late = 0, result;
    int64_t owner = 0;
    while ((result = how->attempt(subject, late)) == 0) {
        now = tw_now(CLOCK_MONOTONIC);
        if (now >= end) {
            result = -ETIMEDOUT;
            break;
        }
        if (late) {
            int64_t there = how->owner(subject);
            pause = there == owner ? 2 * pause : TW_FIRST_LOOK;
            if (pause > TW_LAST_LOOK) pause = TW_LAST_LOOK;
            if (there != owner) {
                if (watched >= 0) close(watched);
                watched = tw_watch(handle, there);
                owner = there;
            }
            next = now + pause;
        }
        struct pollfd fds[2] = {{handle->bell[0], POLLIN, 0}, {watched, POLLIN, 0}};
        double until = next < end ? next : end;
        int ready = poll(fds, 2, until > now ? (int)(until - now) + 1 : 0);
        int rung = ready > 0 && (fds[0].revents & POLLIN);
        char rings[256];
        late = !rung || (fds[1].revents & POLLIN);
        if (rung && read(handle->bell[0], rings, sizeof rings) < 0) late = 1;
    }
    if (watched >= 0) close(watched);
    return result;
}

/* What there is to be had, and one who wants it. */
struct tw_offer {
    int (*take)(void *lock, int late, int waits); /* 1 when it was taken; `waits`: give_up is called if it goes on to be in vain */
    void (*give_up)(void *lock);                  /* may be NULL */
    int (*is_free)(void *lock);                   /* whether take(late) would get it */
    int64_t (*owner)(void *lock);                 /* whose end would free it; 0 if nobody's alone */
    int (*is_ordered)(void *lock);                /* NULL: always */
    int many;                                     /* several may have it at a time */
};
static inline int tw_is_unordered(void *subject) {
    (void)subject;
    return 0;
}
struct tw_wish {
    struct tw_handle *handle;
    const struct tw_offer *offer;
    void *lock;
    struct tw_waiter *place;
    double begin;
    int64_t left; /* the last grant when it was free and another's turn, at the look before; -1 */
};

static inline int tw_take_in_turn(const struct tw_wish *wish, int late, int waits) {
    int ordered = !wish->offer->is_ordered || wish->offer->is_ordered(wish->lock);
    return (!ordered || tw_may_go(wish->handle->lock, wish->place)) && wish->offer->take(wish->lock, late, waits);
}

static inline int tw_attempt(void *subject, int late) {
    struct tw_wish *wish = (struct tw_wish *)subject;
    struct tw_lock *lock = wish->handle->lock;
    /* Whoever lets go from here on finds the place; whoever did before is found by the look that follows. */
    if (wish->place) TW_STORE(wish->place->rung, 0U);
    else wish->place = tw_enqueue(wish->handle);
    if (tw_take_in_turn(wish, late, 1)) return 1;
    if (late) {
        /* Free now, and since the look before: whoever is to go first is stopped, or dead, and is passed. */
        int64_t grant = wish->offer->is_free(wish->lock) ? TW_LOAD(lock->fence) : -1;
        if (grant != -1 && grant == wish->left && wish->offer->take(wish->lock, 1, 1)) return 1;
        wish->left = grant;
    }
    if (wish->place && tw_now(CLOCK_MONOTONIC) - wish->begin > TW_HUNGRY) TW_STORE(lock->hungry, 1U);
    if (wish->place) tw_remain(lock);
    return 0;
}
static inline int64_t tw_wished_owner(void *subject) {
    struct tw_wish *wish = (struct tw_wish *)subject;
    return wish->offer->owner(wish->lock);
}

/* At once or not at all, from the dead too: 0 or EBUSY. */
static inline int tw_try(struct tw_handle *handle, const struct tw_offer *offer, void *lock) {
    struct tw_wish wish = {handle, offer, lock, NULL, 0, -1};
    return tw_take_in_turn(&wish, 1, 0) ? 0 : EBUSY;
}

/* 0 or ETIMEDOUT; then nothing was taken. */
static inline int tw_take(struct tw_handle *handle, const struct tw_offer *offer, void *lock, double milliseconds) {
    static const struct tw_wait wait = {tw_attempt, tw_wished_owner};
    struct tw_wish wish = {handle, offer, lock, NULL, tw_now(CLOCK_MONOTONIC), -1};
    for (int spin = 0; spin < TW_SPINS; spin++)
        if (tw_take_in_turn(&wish, 0, 0)) return 0;
    int result = tw_wait_until(handle, &wait, &wish, milliseconds);
    if (result < 0 && offer->give_up) offer->give_up(lock);
    if (wish.place) {
        if (TW_LOAD(handle->lock->hungry) && tw_is_first(handle->lock, wish.place)) TW_STORE(handle->lock->hungry, 0U);
        tw_dequeue(wish.place);
        if (offer->many || result < 0) tw_wake_first(handle->lock);
    }
    return result < 0 ? -result : 0;
}

/* Slots, behind the lock: words of which each says who has one part of something. A dead one's is free. */

static inline int64_t *tw_slot(const struct tw_handle *handle, int slot) { return (int64_t *)(void *)(handle->lock + 1) + slot; }

static inline double *tw_slot_since(const struct tw_handle *handle, int slot) { return (double *)(void *)tw_slot(handle, TW_SLOTS) + slot; }

/* A free one of `count` from `from` on; with `late` also a dead one's, and then *inherited is 1. -1 when there is none. */
static inline int tw_take_slot(struct tw_handle *handle, int from, int count, int late, int *inherited) {
    for (int slot = from; slot < from + count; slot++)
        if (TW_LOAD(*tw_slot(handle, slot)) == 0 && tw_swap64(tw_slot(handle, slot), 0, handle->self)) return slot;
    for (int slot = from; late && slot < from + count; slot++) {
        int64_t owner = TW_LOAD(*tw_slot(handle, slot));
        if (owner == 0 || tw_alive(owner) || !tw_swap64(tw_slot(handle, slot), owner, handle->self)) continue;
        if (inherited) *inherited = 1;
        return slot;
    }
    return -1;
}

/* The same of a lock that tells since when each is held. */
static inline int tw_take_share(struct tw_handle *handle, int from, int count, int late, int *inherited) {
    int slot = tw_take_slot(handle, from, count, late, inherited);
    if (slot >= 0) TW_PUT(*tw_slot_since(handle, slot), tw_now(CLOCK_REALTIME));
    return slot;
}

/* How many somebody has who lives, and in *dead those of the dead: each is read once, because others take and free them meanwhile. */
static inline int tw_slots_of(const struct tw_handle *handle, int from, int count, int *dead) {
    int alive = 0;
    *dead = 0;
    for (int slot = from; slot < from + count; slot++) {
        int64_t owner = TW_LOAD(*tw_slot(handle, slot));
        if (owner == 0) continue;
        if (tw_alive(owner)) alive++;
        else ++*dead;
    }
    return alive;
}

/* Frees what the dead have of the first `count`. */
static inline void tw_reap(struct tw_handle *handle, int count) {
    for (int slot = 0; slot < count; slot++) {
        int64_t owner = TW_LOAD(*tw_slot(handle, slot));
        if (owner != 0 && !tw_alive(owner)) tw_swap64(tw_slot(handle, slot), owner, 0);
    }
}

/* Frees one that this process has: 0, or EPERM when it has none. */
static inline int tw_free_mine(struct tw_handle *handle, int from, int count) {
    for (int slot = from; slot < from + count; slot++)
        if (tw_swap64(tw_slot(handle, slot), handle->self, 0)) return 0;
    return EPERM;
}

/* Opening: § 1 and spec/memory.md. */

static inline int tw_is_name(const char *name) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t size = strlen(name);
    return size >= 1 && size <= TW_NAME && strspn(name, letters) == size && !strchr("._-", name[0]);
}

/* A new one, which gets its name when it is complete. A kept segment needs no record. */
static inline int tw_create(const char *path, off_t bytes, int *made) {
    char self[48];
    int fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) return errno;
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    int failed = posix_fallocate(fd, 0, bytes);
    if (!failed && (flock(fd, LOCK_SH) != 0 || linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) != 0)) failed = errno;
    if (failed) close(fd);
    else *made = fd;
    return failed;
}

/* What is there, locked against being taken away. EAGAIN: it was just taken away. */
static inline int tw_open_there(const char *path, off_t bytes, int *there) {
    struct stat found;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return errno;
    int failed = flock(fd, LOCK_SH) != 0 || fstat(fd, &found) != 0 ? errno : 0;
    if (!failed && found.st_nlink == 0) failed = EAGAIN;
    else if (!failed && found.st_uid != getuid()) failed = EACCES;
    else if (!failed && (!S_ISREG(found.st_mode) || found.st_nlink != 1 || found.st_size < bytes)) failed = EINVAL;
    /* Others may have left holes, for which there may be no page when they are touched. */
    if (!failed) failed = posix_fallocate(fd, 0, bytes);
    if (failed) close(fd);
    else *there = fd;
    return failed;
}

/* EINVAL: no name, or there is another kind in the memory of that name. */
static inline int tw_open(struct tw_handle *handle, const char *word, uint32_t kind, const char *name) {
    int slotted = kind == TW_SEMAPHORE || kind == TW_RWLOCK || kind == TW_BARRIER, failed;
    size_t bytes = TW_LOCK_BYTES + (slotted ? TW_SLOTS * sizeof(int64_t) : 0) + (kind == TW_SEMAPHORE || kind == TW_RWLOCK ? TW_SLOTS * sizeof(double) : 0);
    if (!tw_is_name(name)) return EINVAL;
    snprintf(handle->path, sizeof handle->path, "/dev/shm/talkwire-%u-%s-%s", (unsigned)getuid(), word, name);
    do {
        failed = tw_open_there(handle->path, (off_t)bytes, &handle->fd);
        if (failed == ENOENT) failed = tw_create(handle->path, (off_t)bytes, &handle->fd);
    } while (failed == EAGAIN || failed == EEXIST);
    if (failed) return failed;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, handle->fd, 0);
    handle->lock = (struct tw_lock *)memory;
    handle->self = tw_owner_of(getpid());
    memset(handle->label, 0, sizeof handle->label);
    if (memory == MAP_FAILED) failed = errno;
    else if (TW_LOAD(handle->lock->kind) != kind && !tw_swap32(&handle->lock->kind, 0, kind) && TW_LOAD(handle->lock->kind) != kind) failed = EINVAL;
    else if (handle->self == 0) failed = ENOSYS; /* no /proc */
    else if (pipe2(handle->bell, O_NONBLOCK | O_CLOEXEC) != 0) failed = errno;
    if (failed && memory != MAP_FAILED) munmap(memory, bytes);
    if (failed) close(handle->fd);
    return failed;
}

/* What inspect() and `talkwire locks` tell of the owner from its next grant on. EINVAL: more than 32 bytes. */
static inline int tw_set_label(struct tw_handle *handle, const char *label) {
    size_t size = strlen(label);
    if (size > sizeof handle->label) return EINVAL;
    memset(handle->label, 0, sizeof handle->label);
    memcpy(handle->label, label, size);
    return 0;
}

/* A word that all who use the lock must say the same; the first one sets it. */
static inline int tw_agree(uint32_t *word, uint32_t value) {
    return TW_LOAD(*word) == value || tw_swap32(word, 0, value) || TW_LOAD(*word) == value ? 0 : EINVAL;
}

/* § 1: whoever goes last takes the name of a free lock away. It stays mapped: another thread's struct may still be in use. */
static inline void tw_close(struct tw_handle *handle) {
    struct tw_lock *lock = handle->lock;
    struct stat there, mine;
    uint32_t kind = TW_LOAD(lock->kind);
    int lasting = kind == TW_EVENT || kind == TW_ONCE || (TW_LOAD(lock->flags) & TW_COUNTING);
    int idle = !lasting && TW_LOAD(lock->owner) == 0 && TW_LOAD(lock->damaged) == 0;
    flock(handle->fd, LOCK_UN);
    if (idle && flock(handle->fd, LOCK_EX | LOCK_NB) == 0 && stat(handle->path, &there) == 0 && fstat(handle->fd, &mine) == 0 && there.st_ino == mine.st_ino)
        unlink(handle->path);
    close(handle->fd);
    close(handle->bell[0]);
    close(handle->bell[1]);
}

#endif
