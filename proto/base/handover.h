/* What ThreadSanitizer cannot see: libzmq's reference count orders the maker of a message before
 * whoever frees it, but libzmq is not instrumented. GIVE before the message is made, TAKE first
 * thing in its free function, with the same address. Nothing in other builds. */
#ifndef KV_BASE_HANDOVER_H
#define KV_BASE_HANDOVER_H

#if defined(__SANITIZE_THREAD__)
#define KV_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KV_TSAN 1
#endif
#endif

#ifdef KV_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define KV_HANDOVER_GIVE(address) __tsan_release(address)
#define KV_HANDOVER_TAKE(address) __tsan_acquire(address)
#else
#define KV_HANDOVER_GIVE(address) ((void)(address))
#define KV_HANDOVER_TAKE(address) ((void)(address))
#endif

#endif
