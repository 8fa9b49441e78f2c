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
enum { TW_PARTIES = 64, TW_ARRIVAL_BITS = 7 };
#define TW_ARRIVALS ((1U << TW_ARRIVAL_BITS) - 1)

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

/* `value`: one step counts an arrival, begins the next generation, or breaks this one, so that nobody takes one for the other. */
static inline uint32_t tw_state(const struct tw_barrier *barrier) { return TW_LOAD(barrier->handle.lock->value); }
static inline uint32_t tw_generation(uint32_t state) { return state >> TW_ARRIVAL_BITS; }
static inline uint32_t tw_after(uint32_t state) { return (tw_generation(state) + 1) << TW_ARRIVAL_BITS; }
static inline int tw_is_broken(uint32_t state) { return (state & TW_ARRIVALS) == TW_ARRIVALS; }
static inline int tw_barrier_is_broken(const struct tw_barrier *barrier) { return tw_is_broken(tw_state(barrier)); }

/* Nothing when that generation is over, or broken. */
static inline void tw_break(struct tw_barrier *barrier, uint32_t generation) {
    uint32_t state;
    do {
        state = tw_state(barrier);
        if (tw_generation(state) != generation || tw_is_broken(state)) return;
    } while (!tw_swap32(&barrier->handle.lock->value, state, state | TW_ARRIVALS));
    tw_wake_all(barrier->handle.lock);
}
static inline void tw_break_if_dead(struct tw_barrier *barrier, uint32_t generation) {
    int dead;
    tw_slots_of(&barrier->handle, 0, TW_SLOTS, &dead);
    if (dead) tw_break(barrier, generation);
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
    int slot = tw_take_slot(&barrier->handle, 0, TW_SLOTS, 0, NULL), last;
    uint32_t state;
    if (slot < 0) return;
    do {
        state = tw_state(barrier);
        if (tw_is_broken(state)) {
            TW_STORE(*tw_slot(&barrier->handle, slot), (int64_t)0);
            return;
        }
        last = (state & TW_ARRIVALS) + 1 == barrier->parties;
    } while (!tw_swap32(&lock->value, state, last ? tw_after(state) : state + 1));
    arrival->slot = slot;
    arrival->generation = tw_generation(state);
    if (last) tw_wake_all(lock);
}

static inline int tw_is_passed(void *subject, int late) {
    struct tw_arrival *arrival = (struct tw_arrival *)subject;
    struct tw_barrier *barrier = arrival->barrier;
    if (arrival->place) TW_STORE(arrival->place->rung, 0U);
    else arrival->place = tw_enqueue(&barrier->handle);
    if (arrival->slot < 0 && !tw_barrier_is_broken(barrier)) tw_arrive(arrival);
    if (late) tw_break_if_dead(barrier, arrival->slot < 0 ? tw_generation(tw_state(barrier)) : arrival->generation);
    uint32_t state = tw_state(barrier);
    if (arrival->slot >= 0 && tw_generation(state) != arrival->generation) return 1;
    return tw_is_broken(state) ? TW_BROKEN : 0;
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
    if (arrival.slot >= 0) tw_break(barrier, arrival.generation);
    if (arrival.slot >= 0) TW_STORE(*tw_slot(&barrier->handle, arrival.slot), (int64_t)0);
    if (arrival.place) tw_dequeue(arrival.place);
    return result == 1 ? 0 : result == TW_BROKEN ? TW_BROKEN : -result;
}

/* The next generation after a broken one. Not while one who waited for that is there: it would think that it has passed. */
static inline int tw_begin(void *subject, int late) {
    struct tw_barrier *barrier = (struct tw_barrier *)subject;
    (void)late;
    tw_break_if_dead(barrier, tw_generation(tw_state(barrier)));
    uint32_t state = tw_state(barrier);
    if (!tw_is_broken(state)) return 1;
    tw_reap(&barrier->handle, TW_SLOTS);
    int dead, alive = tw_slots_of(&barrier->handle, 0, TW_SLOTS, &dead);
    return alive + dead == 0 && tw_swap32(&barrier->handle.lock->value, state, tw_after(state));
}

/*
 * Makes it usable again after it broke, as soon as all who waited have learned of it and left; the dead need not. Does nothing
 * when it is not broken. 0, ETIMEDOUT.
 */
static inline int tw_barrier_reset(struct tw_barrier *barrier, double milliseconds) {
    static const struct tw_wait wait = {tw_begin, tw_nobody};
    int result = tw_wait_until(&barrier->handle, &wait, barrier, milliseconds);
    return result < 0 ? -result : 0;
}

static inline void tw_barrier_close(struct tw_barrier *barrier) { tw_close(&barrier->handle); }

#endif
