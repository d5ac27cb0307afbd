// Moves requests in and answers out under one lock, held for as long as that takes.
#include "load/mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <iterator>
#include <system_error>
#include <utility>

namespace wayra::load {
namespace {
template <class T>
void append(std::vector<T>& to, std::vector<T>&& from) {
  if (to.empty()) {
    to = std::move(from);
    return;
  }
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}
}  // namespace

Bell::Bell() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
}
Bell::~Bell() { close(fd_); }

// Neither can fail in a way that matters: a full counter is a rung bell, an empty one a silent bell.
void Bell::notify() { static_cast<void>(eventfd_write(fd_, 1)); }
void Bell::clear() {
  eventfd_t count = 0;
  static_cast<void>(eventfd_read(fd_, &count));
}

void Mailbox::submit(std::vector<Request>&& requests, bool is_all) {
  {
    const std::lock_guard lock(mutex_);
    append(waiting_.requests, std::move(requests));
    waiting_.is_all = waiting_.is_all || is_all;
  }
  orders_.notify();
}

void Mailbox::cancel(int64_t id) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.cancelled.push_back(id);
  }
  orders_.notify();
}

void Mailbox::end() {
  {
    const std::lock_guard lock(mutex_);
    waiting_.is_over = true;
  }
  orders_.notify();
}

std::vector<Answer> Mailbox::take() {
  answers_.clear();
  const std::lock_guard lock(mutex_);
  return std::exchange(answered_, {});
}

std::string Mailbox::error() {
  const std::lock_guard lock(mutex_);
  return error_;
}

Orders Mailbox::receive() {
  orders_.clear();
  const std::lock_guard lock(mutex_);
  return std::exchange(waiting_, {});
}

void Mailbox::deliver(std::vector<Answer>&& answers) {
  {
    const std::lock_guard lock(mutex_);
    append(answered_, std::move(answers));
  }
  answers_.notify();
}

void Mailbox::fail(const std::string& error) {
  {
    const std::lock_guard lock(mutex_);
    error_ = error;
  }
  answers_.notify();
}

}  // namespace wayra::load
