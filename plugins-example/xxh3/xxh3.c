/*
 * Hashes the workload with XXH3, for a cache's key or to find a damaged file: 32 hexadecimal digits.
 *
 * A large workload is hashed in parts. After each, the caller learns how far it is, and the job ends early once the worker
 * is asked to stop.
 */
#include <gm_plugin.h>
#include <xxhash.h>

static const size_t part = (size_t)4 << 20;

GM_FUNCTION(xxh3) {
    const size_t size = gm_workload_size(job);
    XXH128_hash_t hash;
    XXH3_state_t *state = XXH3_createState();
    if (!state || XXH3_128bits_reset(state) != XXH_OK) return gm_fail(job, "out of memory");
    for (size_t done = 0; done < size;) {
        const size_t next = size - done < part ? size - done : part;
        if (gm_stopping(job)) {
            XXH3_freeState(state);
            return gm_failf(job, "stopped after %zu of %zu bytes", done, size);
        }
        XXH3_128bits_update(state, gm_workload(job) + done, next);
        done += next;
        if (size > part) gm_status(job, done, size);
    }
    hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    return gm_resultf(job, "%016llx%016llx", (unsigned long long)hash.high64, (unsigned long long)hash.low64);
}
