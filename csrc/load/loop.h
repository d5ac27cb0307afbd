// A thread that holds the sockets of a stage: sends requests at their times, stamps each read, hands on whole answers.
//
// It never waits for Python. Answers go out eight at a time or a tenth of a second after the first of them ended, so
// that what Python does is done many in a row, and what a piece of a stream costs is one wait and one read.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "load/answer.h"
#include "load/clock.h"
#include "load/connection.h"
#include "load/mailbox.h"

namespace wayra::load {

struct Limits {
  int64_t connect_ns, stall_ns, total_ns, max_body_bytes;
};

struct Rhythm {
  size_t width;       // at most so many under way; of requests without a time
  size_t low;         // with fewer requests waiting, more are asked for
  size_t batch;       // answers handed on at a time
  int64_t linger_ns;  // but none later than this
};

struct Descriptor {
  int fd = -1;
  ~Descriptor();
};

class Loop {
 public:
  // Throws std::system_error when the system gives no thread or descriptors.
  Loop(std::vector<Address> addresses, Limits limits, Rhythm rhythm, std::shared_ptr<const Clock> clock);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  Mailbox& mailbox() { return mailbox_; }
  // Bytes read so far, for who waits for them.
  int64_t received_bytes() const { return received_bytes_.load(std::memory_order_acquire); }
  // Requests whose turn has not come.
  size_t num_waiting() const { return num_waiting_.load(std::memory_order_acquire); }
  // Ends what is under way, cancelled, and the thread. All answers can be taken then.
  void stop();

 private:
  void run();
  void turn();
  void receive_orders();
  void cancel(int64_t id);
  void cancel_all();

  // Sending.
  void begin_due();
  void begin(Request&& request);
  void connect(std::unique_ptr<Exchange> exchange);
  void connect_to_next(std::unique_ptr<Connection> connection, int error);
  void finish_connecting(Connection& connection);
  void use(Connection& connection);
  void watch(Connection& connection, bool to_write);

  // Receiving.
  void handle(Connection& connection, uint32_t events);
  void read(Connection& connection);
  void take_end(Connection& connection, End end, int64_t now_ns, bool is_closed);
  void finish(std::unique_ptr<Exchange> exchange, End end, int64_t ended_ns, int error = 0);
  void fail(Connection& connection, End end);
  void hand_on_part(Exchange& exchange);
  void push(Exchange& exchange, End end, int64_t at_ns);
  void close(Connection& connection);

  // Time.
  void sweep(int64_t now_ns);
  int64_t sweep_one(Connection& connection, int64_t now_ns);
  void sweep_soon(int64_t now_ns);
  void hand_on(int64_t now_ns);
  void arm(int64_t now_ns);

  const std::vector<Address> addresses_;
  const Limits limits_;
  const Rhythm rhythm_;
  const std::shared_ptr<const Clock> clock_;
  Mailbox mailbox_;
  std::atomic<int64_t> received_bytes_{0};
  std::atomic<size_t> num_waiting_{0};

  // The thread's own.
  Descriptor epoll_, timer_;
  std::unordered_map<int, std::unique_ptr<Connection>> connections_;  // by descriptor
  std::vector<std::unique_ptr<Connection>> closed_;                   // of this turn: its events may name them still
  std::vector<Connection*> idle_;
  std::deque<Request> waiting_;
  std::vector<Answer> ended_;
  size_t busy_ = 0;
  bool is_all_ = false, is_over_ = false, has_asked_ = false, is_urgent_ = false;
  int64_t first_ended_ns_ = kNever, next_sweep_ns_ = kNever, armed_ns_ = kNever;
  std::array<char, 64 * 1024> read_buffer_;
  std::thread thread_;
};

}  // namespace wayra::load
