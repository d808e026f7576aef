#ifndef GRADORACLE_PROTO_REACTION_ORDER_H_
#define GRADORACLE_PROTO_REACTION_ORDER_H_

// gRPC promises that the reactions of a call (OnWriteDone and so on) come after what led to them (construction,
// StartWrite and so on). Its library is not instrumented, so ThreadSanitizer cannot see that order and takes every such
// pair for a race. Reactors say it in their own words; nothing is hidden beyond that promise. No code without TSan.
#if defined(__SANITIZE_THREAD__)
#define GRADORACLE_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GRADORACLE_THREAD_SANITIZER 1
#endif
#endif

#ifdef GRADORACLE_THREAD_SANITIZER
extern "C" {
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}
#endif

namespace gradoracle {

// To be called last before `reactor` is handed to gRPC, by construction or by starting an operation of it.
inline void BeforeReactions([[maybe_unused]] void* reactor) {
#ifdef GRADORACLE_THREAD_SANITIZER
  __tsan_release(reactor);
#endif
}

// To be called first in each reaction of `reactor`.
inline void InReaction([[maybe_unused]] void* reactor) {
#ifdef GRADORACLE_THREAD_SANITIZER
  __tsan_acquire(reactor);
#endif
}

}  // namespace gradoracle

#endif  // GRADORACLE_PROTO_REACTION_ORDER_H_
