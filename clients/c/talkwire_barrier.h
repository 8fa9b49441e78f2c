/*
 * All or nobody, again and again: spec/sync.md § 11.
 *
 *   struct tw_barrier round;
 *   tw_barrier_open(&round, "round", 4);                 all who use it say the same number
 *   if (tw_barrier_wait(&round, 5000) == TW_BROKEN) …
 */
#ifndef TALKWIRE_BARRIER_H
#define TALKWIRE_BARRIER_H

#include "talkwire_lock.h"

/* One of those who waited died or gave up: for all, until tw_barrier_reset. */
#define TW_BROKEN (-2)
enum { TW_PARTIES = 64, TW_COUNT_BITS = 7 };

struct tw_barrier {
    struct tw_handle handle;
    uint32_t parties;
};

/* 1 to 64 parties. EINVAL: another number, or others say another one. */
static inline int tw_barrier_open(struct tw_barrier *barrier, const char *name, int parties) {
    if (parties < 1 || parties > TW_PARTIES) return EINVAL;
    int failed = tw_open(&barrier->handle, "barrier", TW_BARRIER, name);
    if (failed) return failed;
    barrier->parties = (uint32_t)parties;
    failed = tw_agree(&barrier->handle.lock->limit, barrier->parties);
    if (failed) tw_close(&barrier->handle);
    return failed;
}

static inline int tw_barrier_is_broken(const struct tw_barrier *barrier) { return TW_LOAD(barrier->handle.lock->damaged) != 0; }
static inline uint32_t tw_generation(const struct tw_barrier *barrier) { return TW_LOAD(barrier->handle.lock->value) >> TW_COUNT_BITS; }

static inline void tw_break(struct tw_barrier *barrier) {
    TW_STORE(barrier->handle.lock->damaged, 1U);
    tw_wake_all(barrier->handle.lock);
}

struct tw_arrival {
    struct tw_barrier *barrier;
    struct tw_waiter *place;
    uint32_t generation;
    int slot; /* -1: it has not arrived */
};

/* The slot is taken first: whoever is counted is known, so that its death is seen. */
static inline void tw_arrive(struct tw_arrival *arrival) {
    struct tw_barrier *barrier = arrival->barrier;
    struct tw_lock *lock = barrier->handle.lock;
    int slot = tw_take_slot(&barrier->handle, 0, TW_SLOTS, 0, NULL);
    if (slot < 0) return;
    for (;;) {
        uint32_t value = TW_LOAD(lock->value), count = (value & ((1U << TW_COUNT_BITS) - 1)) + 1;
        arrival->generation = value >> TW_COUNT_BITS;
        int last = count == barrier->parties;
        if (!tw_swap32(&lock->value, value, last ? (arrival->generation + 1) << TW_COUNT_BITS : value + 1)) continue;
        arrival->slot = slot;
        if (last) tw_wake_all(lock);
        return;
    }
}

static inline int tw_is_passed(void *subject, int late) {
    struct tw_arrival *arrival = (struct tw_arrival *)subject;
    struct tw_barrier *barrier = arrival->barrier;
    struct tw_handle *handle = &barrier->handle;
    if (arrival->place) TW_STORE(arrival->place->rung, 0U);
    else arrival->place = tw_enqueue(handle);
    if (arrival->slot < 0 && tw_barrier_is_broken(barrier)) return TW_BROKEN;
    if (arrival->slot < 0) tw_arrive(arrival);
    if (arrival->slot < 0) return 0;
    if (tw_generation(barrier) != arrival->generation) return 1;
    if (late && tw_slots_of(handle, 0, TW_SLOTS, 0) != tw_slots_of(handle, 0, TW_SLOTS, 1)) tw_break(barrier);
    return tw_barrier_is_broken(barrier) ? TW_BROKEN : 0;
}
static inline int64_t tw_nobody(void *subject) {
    (void)subject;
    return 0;
}

/* 0, TW_BROKEN, ETIMEDOUT (then it is broken for the others). */
static inline int tw_barrier_wait(struct tw_barrier *barrier, double milliseconds) {
    static const struct tw_wait wait = {tw_is_passed, tw_nobody};
    struct tw_arrival arrival = {barrier, NULL, 0, -1};
    int result = tw_wait_until(&barrier->handle, &wait, &arrival, milliseconds);
    /* Whoever leaves before all are there takes a part away that the others count on. */
    if (arrival.slot >= 0 && tw_generation(barrier) == arrival.generation) tw_break(barrier);
    if (arrival.slot >= 0) TW_STORE(*tw_slot(&barrier->handle, arrival.slot), (int64_t)0);
    if (arrival.place) tw_dequeue(arrival.place);
    return result == 1 ? 0 : result == TW_BROKEN ? TW_BROKEN : -result;
}

/* Makes it usable again after it broke. When nobody waits. */
static inline void tw_barrier_reset(struct tw_barrier *barrier) {
    struct tw_lock *lock = barrier->handle.lock;
    for (int slot = 0; slot < TW_SLOTS; slot++) TW_STORE(*tw_slot(&barrier->handle, slot), (int64_t)0);
    TW_STORE(lock->value, (tw_generation(barrier) + 1) << TW_COUNT_BITS);
    TW_STORE(lock->damaged, 0U);
}

static inline void tw_barrier_close(struct tw_barrier *barrier) { tw_close(&barrier->handle); }

#endif
