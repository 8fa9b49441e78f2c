/*
 * Keys and values that any process reads and writes, in memory that they share: spec/values.md § 3. The memory is the caller's:
 * mapped for reading and writing, from a multiple of 8 on, zeros when the first one came.
 *
 *   struct tw_map colours;
 *   if (tw_map_open(&colours, memory, tw_map_bytes(100, 32, 64), 100, 32, 64) != 0) …
 *   tw_map_set(&colours, "sky", "blue", 4);
 *   char text[64]; size_t length;
 *   if (tw_map_get(&colours, "sky", text, sizeof text, &length) == 0) …
 *   tw_map_delete(&colours, "sky");
 *
 * Functions return 0 or an errno. Keys are UTF-8. One thread at a time uses a struct. Setting and deleting block while others write,
 * for some microseconds.
 */
#ifndef TALKWIRE_MAP_H
#define TALKWIRE_MAP_H

#include "talkwire_versions.h"

#define TW_MAP_KIND 0x54560102U
enum { TW_FREE = 0, TW_USED = 1, TW_REMOVED = 2 };
/* Milliseconds until who writes counts as stopped, until it does although it is seen at work, and between two questions whether it lives. */
enum { TW_MAP_PATIENCE = 1000, TW_MAP_MOST_PATIENCE = 10000, TW_MAP_LOOK = 4, TW_MAP_SPINS = 100 };

struct tw_map_words {
    uint32_t kind, entries;
    int64_t writer;
    uint32_t key, value, spare[10];
};
struct tw_entry {
    uint32_t state, hash, version, begun, lengths[2], key_length, spare;
};
struct tw_map {
    struct tw_map_words *words;
    uint32_t entries, key, value;
    size_t stride;
    int64_t self;
};
struct tw_key {
    const char *text;
    size_t length;
    uint32_t hash;
};

static inline size_t tw_map_stride(uint32_t key, uint32_t value) { return sizeof(struct tw_entry) + tw_padded(key) + 2 * tw_padded(value); }

/* Bytes of memory for so many keys, of so many bytes at most, with values of so many bytes at most. */
static inline size_t tw_map_bytes(uint32_t entries, uint32_t key, uint32_t value) {
    return sizeof(struct tw_map_words) + entries * tw_map_stride(key, value);
}

static inline int tw_are_map_sizes(uint32_t entries, uint32_t key, uint32_t value) {
    return entries >= 1 && entries <= 1U << 24 && key >= 1 && key <= 1U << 30 && value >= 1 && value <= 1U << 30;
}

/* A word that all say the same; whoever comes first sets it. 0: it is another one. */
static inline int tw_agree_size(uint32_t *word, uint32_t size, int make) {
    if (size != 0 && make) tw_swap32(word, 0, size);
    return size == 0 || TW_LOAD(*word) == size;
}

/* Whoever comes first says the sizes, all others the same or 0. EINVAL: something else is there, or too little memory. */
static inline int tw_map_open(struct tw_map *map, void *memory, size_t bytes, uint32_t entries, uint32_t key, uint32_t value) {
    struct tw_map_words *words = (struct tw_map_words *)memory;
    int said = entries != 0 || key != 0 || value != 0;
    if ((uintptr_t)memory % 8 != 0 || bytes < sizeof *words) return EINVAL;
    if (said && (!tw_are_map_sizes(entries, key, value) || tw_map_bytes(entries, key, value) > bytes)) return EINVAL;
    uint32_t there = TW_LOAD(words->kind);
    if (there != 0 && there != TW_MAP_KIND) return EINVAL;
    int make = there == 0;
    if (!tw_agree_size(&words->entries, entries, make) || !tw_agree_size(&words->key, key, make) || !tw_agree_size(&words->value, value, make)) return EINVAL;
    map->words = words;
    map->entries = TW_LOAD(words->entries);
    map->key = TW_LOAD(words->key);
    map->value = TW_LOAD(words->value);
    if (!tw_are_map_sizes(map->entries, map->key, map->value) || tw_map_bytes(map->entries, map->key, map->value) > bytes) return EINVAL;
    tw_swap32(&words->kind, 0, TW_MAP_KIND);
    map->stride = tw_map_stride(map->key, map->value);
    map->self = tw_owner_of(getpid());
    return map->self == 0 ? ENOSYS : 0; /* no /proc */
}

static inline struct tw_entry *tw_entry_at(const struct tw_map *map, uint32_t slot) {
    return (struct tw_entry *)(void *)((unsigned char *)(map->words + 1) + slot * map->stride);
}
static inline unsigned char *tw_key_of(struct tw_entry *entry) { return (unsigned char *)(entry + 1); }
static inline struct tw_versions tw_versions_of(const struct tw_map *map, struct tw_entry *entry) {
    unsigned char *first = tw_key_of(entry) + tw_padded(map->key);
    struct tw_versions versions = {&entry->version, &entry->begun, entry->lengths, {first, first + tw_padded(map->value)}, map->value};
    return versions;
}

/* FNV-1a. */
static inline struct tw_key tw_wanted(const char *text) {
    struct tw_key key = {text, strlen(text), 0x811c9dc5U};
    for (const char *at = text; *at; at++) key.hash = (key.hash ^ (unsigned char)*at) * 0x01000193U;
    return key;
}

static inline int tw_has_key(struct tw_entry *entry, const struct tw_key *key) {
    return TW_LOAD(entry->key_length) == key->length && memcmp(tw_key_of(entry), key->text, key->length) == 0;
}

/* Where the key is, or NULL; and in *free where it could be put. */
static inline struct tw_entry *tw_find(const struct tw_map *map, const struct tw_key *key, struct tw_entry **free) {
    *free = NULL;
    if (key->length > map->key) return NULL; /* also when an entry says that its key is as long */
    for (uint32_t step = 0, slot = key->hash % map->entries; step < map->entries; step++, slot = (slot + 1) % map->entries) {
        struct tw_entry *entry = tw_entry_at(map, slot);
        uint32_t state = TW_LOAD(entry->state);
        if (state != TW_USED && !*free) *free = entry;
        if (state == TW_FREE) break;
        if (state == TW_USED && TW_LOAD(entry->hash) == key->hash && tw_has_key(entry, key)) return entry;
    }
    return NULL;
}

/* 0, ENOENT; EAGAIN: something changed meanwhile, look again. */
static inline int tw_map_look(const struct tw_map *map, const struct tw_key *key, void *to, size_t room, size_t *length) {
    struct tw_entry *free, *entry = tw_find(map, key, &free);
    if (!entry) return ENOENT;
    struct tw_versions versions = tw_versions_of(map, entry);
    uint32_t version = TW_LOAD(entry->version), seen;
    /* Another key may have come into its place: that makes the version two higher, and is begun before. */
    if (!tw_has_key(entry, key)) return EAGAIN;
    tw_fence_all();
    if (!tw_read_version(&versions, to, room, length, &seen) || (int32_t)(seen - version) > 1) return EAGAIN;
    return (int32_t)(TW_LOAD(entry->begun) - version) > 1 || TW_LOAD(entry->state) != TW_USED ? EAGAIN : 0;
}

/* A copy of the value, whole, and its length. ENOENT: no such key. EMSGSIZE: it has more bytes than `room`, *length of them. EBADMSG: it cannot be read. */
static inline int tw_map_get(const struct tw_map *map, const char *key, void *to, size_t room, size_t *length) {
    struct tw_looks looks = {0, 0};
    struct tw_key wanted = tw_wanted(key);
    int how;
    while ((how = tw_map_look(map, &wanted, to, room, length)) == EAGAIN)
        if (!tw_look_again(&looks)) return EBADMSG;
    return how == 0 && *length > room ? EMSGSIZE : how;
}

static inline int tw_is_busy(int64_t owner) {
    unsigned long long start;
    char state = tw_state_of(tw_id(owner), &start);
    return state == 'R' || state == 'D';
}

/* One writer at a time. One who died in the middle left nothing that is seen. EBUSY: one is stopped in the middle. */
static inline int tw_map_begin(struct tw_map *map) {
    int64_t *writer = &map->words->writer;
    double start = tw_now(CLOCK_MONOTONIC), end = start + TW_MAP_PATIENCE, look = 0;
    for (;; sched_yield()) {
        for (int spin = 0; spin < TW_MAP_SPINS; spin++)
            if (TW_LOAD(*writer) == 0 && tw_swap64(writer, 0, map->self)) return 0;
        double now = tw_now(CLOCK_MONOTONIC);
        if (now < look) continue;
        look = now + TW_MAP_LOOK;
        int64_t other = TW_LOAD(*writer);
        if (other == 0) continue;
        if (!tw_alive(other) && tw_swap64(writer, other, map->self)) return 0;
        if (now <= end) continue;
        end = now + TW_MAP_PATIENCE;
        if (now > start + TW_MAP_MOST_PATIENCE || other == map->self || !tw_is_busy(other)) return EBUSY;
    }
}
static inline void tw_map_end(struct tw_map *map) { TW_STORE(map->words->writer, (int64_t)0); }

static inline void tw_insert(const struct tw_map *map, struct tw_entry *entry, const struct tw_key *key, const void *bytes, size_t length) {
    struct tw_versions versions = tw_versions_of(map, entry);
    /* Whoever still reads what was here learns of it before the key changes. */
    TW_STORE(entry->begun, TW_LOAD(entry->version) + 2);
    tw_fence_all();
    TW_CHANGING();
    memcpy(tw_key_of(entry), key->text, key->length);
    TW_STORE(entry->key_length, (uint32_t)key->length);
    TW_STORE(entry->hash, key->hash);
    tw_write_version(&versions, bytes, length, 2);
    TW_STORE(entry->state, (uint32_t)TW_USED);
}

/* Sets it for all. Who dies in the middle leaves the old value or the new one. ENOSPC: no room for one more key. EMSGSIZE: the key or the value is too long. EBUSY. */
static inline int tw_map_set(struct tw_map *map, const char *key, const void *bytes, size_t length) {
    struct tw_key wanted = tw_wanted(key);
    struct tw_entry *free, *entry;
    if (wanted.length > map->key || length > map->value) return EMSGSIZE;
    int failed = tw_map_begin(map);
    if (failed) return failed;
    if ((entry = tw_find(map, &wanted, &free))) {
        struct tw_versions versions = tw_versions_of(map, entry);
        tw_write_version(&versions, bytes, length, 1);
    } else if (free) tw_insert(map, free, &wanted, bytes, length);
    else failed = ENOSPC;
    tw_map_end(map);
    return failed;
}

/* Removed entries before a free one are free: nobody looks for anything behind them. */
static inline void tw_tidy(const struct tw_map *map, const struct tw_entry *removed) {
    uint32_t last = (uint32_t)((size_t)((const unsigned char *)removed - (const unsigned char *)(map->words + 1)) / map->stride);
    if (TW_LOAD(tw_entry_at(map, (last + 1) % map->entries)->state) != TW_FREE) return;
    for (uint32_t back = 0; back < map->entries; back++) {
        struct tw_entry *entry = tw_entry_at(map, (last + map->entries - back) % map->entries);
        if (TW_LOAD(entry->state) != TW_REMOVED) return;
        TW_STORE(entry->state, (uint32_t)TW_FREE);
    }
}

/* ENOENT: it was not there. EBUSY. */
static inline int tw_map_delete(struct tw_map *map, const char *key) {
    struct tw_key wanted = tw_wanted(key);
    struct tw_entry *free;
    int failed = tw_map_begin(map);
    if (failed) return failed;
    struct tw_entry *entry = tw_find(map, &wanted, &free);
    if (entry) {
        TW_STORE(entry->state, (uint32_t)TW_REMOVED);
        tw_tidy(map, entry);
    }
    tw_map_end(map);
    return entry ? 0 : ENOENT;
}

#endif
