// What goes between the thread that holds the sockets and the one that makes and reads: the only state that both touch.
#pragma once
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "load/answer.h"

namespace wayra::load {

// An eventfd: whoever waits for it is woken by notify() until clear().
class Bell {
 public:
  // Throws std::system_error.
  Bell();
  ~Bell();
  Bell(const Bell&) = delete;
  Bell& operator=(const Bell&) = delete;
  int fd() const { return fd_; }
  void notify();
  void clear();

 private:
  int fd_;
};

// For the loop to do.
struct Orders {
  std::vector<Request> requests;
  std::vector<int64_t> cancelled;
  bool is_all = false;   // no request follows
  bool is_over = false;  // end everything
};

class Mailbox {
 public:
  // Whoever asks.
  void submit(std::vector<Request>&& requests, bool is_all);
  void cancel(int64_t id);
  void end();
  std::vector<Answer> take();
  // Of the thread, when it died of an error; empty otherwise.
  std::string error();
  const Bell& answers() const { return answers_; }

  // The loop.
  Orders receive();
  void deliver(std::vector<Answer>&& answers);
  void fail(const std::string& error);
  const Bell& orders() const { return orders_; }

 private:
  std::mutex mutex_;
  Orders waiting_;
  std::vector<Answer> answered_;
  std::string error_;
  Bell orders_, answers_;
};

}  // namespace wayra::load
