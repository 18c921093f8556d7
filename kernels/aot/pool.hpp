// A small thread pool: one job at a time, the caller works too, results never depend on the number of threads.
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#if !defined(_WIN32)
#include <pthread.h>
#include <signal.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#define FASTLOSS_PAUSE() _mm_pause()
#else
#define FASTLOSS_PAUSE() std::this_thread::yield()
#endif

namespace fastloss {

typedef void (*Task)(void* context, std::ptrdiff_t chunk);
typedef int (*Poll)();  // nonzero: stop handing out chunks (an interrupt is pending)

class Pool {
  static constexpr int kMaxThreads = 256;
  static constexpr int kSpins = 4000;

  std::mutex owner_, sleep_;
  std::condition_variable wake_;
  std::atomic<std::uint32_t> generation_{0};
  std::atomic<bool> open_{false};
  std::atomic<int> running_{0}, sleepers_{0};
  struct alignas(64) Range {  // of chunks: each thread begins with its own, whose memory lies side by side, and then helps the others
    std::atomic<std::ptrdiff_t> next{0};
    std::ptrdiff_t end = 0;
  } ranges_[kMaxThreads];
  Task task_ = nullptr;
  void* context_ = nullptr;
  int limit_ = 0, workers_ = 0;

  template <class Stop>
  void work(int thread, Stop stop) {
    for (int k = 0; k <= limit_; ++k) {
      Range& range = ranges_[(thread + k) % (limit_ + 1)];
      for (std::ptrdiff_t i; (i = range.next.fetch_add(1)) < range.end;) {
        task_(context_, i);
        if (stop()) return;
      }
    }
  }

  void sleep_until_new(std::uint32_t seen) {
    for (int i = 0; i < kSpins; ++i) {
      if (generation_.load() != seen) return;
      FASTLOSS_PAUSE();
    }
    std::unique_lock<std::mutex> lock(sleep_);
    sleepers_.fetch_add(1);
    wake_.wait(lock, [&] { return generation_.load() != seen; });
    sleepers_.fetch_sub(1);
  }

  void worker(int id, std::uint32_t seen) {
    for (;;) {
      sleep_until_new(seen);
      seen = generation_.load();
      running_.fetch_add(1);  // from here the caller waits for us, so the job's fields stay as they are
      if (open_.load() && id < limit_) work(id + 1, [] { return false; });
      running_.fetch_sub(1);
    }
  }

  void grow(int wanted) {
#if !defined(_WIN32)
    sigset_t all, old;  // signals stay with the threads that existed before
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
#endif
    try {
      for (; workers_ < wanted; ++workers_) std::thread(&Pool::worker, this, workers_, generation_.load()).detach();
    } catch (const std::system_error&) {  // the system refuses another thread: go on with those we have
    } catch (const std::bad_alloc&) {
    }
#if !defined(_WIN32)
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
#endif
  }

  static int serial(Task task, void* context, std::ptrdiff_t chunks, Poll poll) {
    Clock clock;
    for (std::ptrdiff_t i = 0; i < chunks; ++i) {
      task(context, i);
      if (clock.due() && poll()) return -1;
    }
    return 0;
  }

  struct Clock {  // lets the caller look for an interrupt about 20 times a second
    std::chrono::steady_clock::time_point last = std::chrono::steady_clock::now();
    bool due() {
      auto now = std::chrono::steady_clock::now();
      if (now - last < std::chrono::milliseconds(50)) return false;
      last = now;
      return true;
    }
  };

  static std::atomic<Pool*>& instance() {
    static std::atomic<Pool*> pool{nullptr};
    return pool;
  }

  // Never destroyed: workers may outlive static destructors. After fork the child starts a fresh one.
  static Pool* get() {
    Pool* pool = instance().load();
    if (pool) return pool;
    Pool* fresh = new (std::nothrow) Pool;
    if (!fresh) return nullptr;
    if (instance().compare_exchange_strong(pool, fresh)) return fresh;
    delete fresh;
    return pool;
  }

 public:
  static void forget() { instance().store(nullptr); }

  // Runs task(context, 0..chunks-1); returns -1 when poll asked to stop. A second caller at the same time runs serially.
  static int run(Task task, void* context, std::ptrdiff_t chunks, int threads, Poll poll) {
    if (threads > kMaxThreads) threads = kMaxThreads;
    if (threads > chunks) threads = static_cast<int>(chunks);
    Pool* pool = threads > 1 ? get() : nullptr;
    if (!pool || !pool->owner_.try_lock()) return serial(task, context, chunks, poll);
    std::lock_guard<std::mutex> owner(pool->owner_, std::adopt_lock);
    return pool->parallel(task, context, chunks, threads, poll);
  }

 private:
  int parallel(Task task, void* context, std::ptrdiff_t chunks, int threads, Poll poll) {
    if (workers_ < threads - 1) grow(threads - 1);
    while (running_.load()) FASTLOSS_PAUSE();  // a late waker of the last job may still be looking around
    task_ = task, context_ = context, limit_ = threads - 1;
    for (std::ptrdiff_t t = 0, begin = 0; t < threads; ++t) {
      ranges_[t].next.store(begin);
      ranges_[t].end = begin += chunks / threads + (t < chunks % threads);
    }
    open_.store(true);
    generation_.fetch_add(1);
    if (sleepers_.load()) {
      { std::lock_guard<std::mutex> lock(sleep_); }
      wake_.notify_all();
    }
    bool stopped = false;
    Clock clock;
    work(0, [&] { return stopped = clock.due() && poll(); });
    for (int t = 0; stopped && t < threads; ++t) ranges_[t].next.store(ranges_[t].end);
    open_.store(false);
    for (int i = 0; running_.load(); ++i)
      if (i < kSpins) FASTLOSS_PAUSE(); else std::this_thread::yield();
    return stopped ? -1 : 0;
  }
};

inline void install_fork_guard() {
#if !defined(_WIN32)
  pthread_atfork(nullptr, nullptr, [] { Pool::forget(); });
#endif
}

}  // namespace fastloss
