// The Python module of the load loop: requests in, answers out as tuples; nothing here runs while bytes come.
#include <arpa/inet.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include <netinet/in.h>

#include <cstring>
#include <stdexcept>
#include <tuple>

#include "load/loop.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {
using wayra::load::Address;
using wayra::load::Answer;
using wayra::load::Clock;
using wayra::load::Limits;
using wayra::load::Loop;
using wayra::load::Request;
using wayra::load::Rhythm;

// An address as Python's socket module has it, without the names.
using Place = std::tuple<std::string, int, uint32_t>;  // numeric, port, scope of IPv6

Address address_of(const Place& place) {
  const auto& [text, port, scope] = place;
  Address out{};
  if (port < 0 || port > 65535) throw std::invalid_argument("a port is 0 to 65535");
  auto* four = reinterpret_cast<sockaddr_in*>(&out.bytes);
  auto* six = reinterpret_cast<sockaddr_in6*>(&out.bytes);
  if (inet_pton(AF_INET, text.c_str(), &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(static_cast<uint16_t>(port));
    out.size = sizeof(*four);
  } else if (inet_pton(AF_INET6, text.c_str(), &six->sin6_addr) == 1) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(static_cast<uint16_t>(port));
    six->sin6_scope_id = scope;
    out.size = sizeof(*six);
  } else {
    throw std::invalid_argument("an address is a number, not a name: " + text);
  }
  return out;
}

nb::tuple tuple_of(const Answer& answer) {
  nb::list times, ends;
  for (const wayra::load::Mark& mark : answer.marks) {
    times.append(1e-9 * static_cast<double>(mark.at_ns));
    ends.append(mark.end);
  }
  const nb::bytes body(answer.body.data(), answer.body.size());
  const nb::bytes seen(answer.seen.data(), answer.seen.size());
  const auto seconds = [](int64_t ns) { return 1e-9 * static_cast<double>(ns); };
  return nb::make_tuple(answer.id, wayra::load::name_of(answer.end), answer.error, answer.status,
                        seconds(answer.sent_ns), seconds(answer.head_ns), seconds(answer.ended_ns), body, times, ends,
                        seen);
}

nb::list take(Loop& loop) {
  if (const std::string error = loop.mailbox().error(); !error.empty()) throw std::runtime_error(error);
  nb::list out;
  for (const Answer& answer : loop.mailbox().take()) out.append(tuple_of(answer));
  return out;
}

void submit(Loop& loop, nb::list requests, bool is_all) {
  std::vector<Request> made;
  made.reserve(nb::len(requests));
  for (nb::handle one : requests) {
    const auto fields = nb::cast<nb::tuple>(one);
    const auto bytes = nb::cast<nb::bytes>(fields[1]);
    made.push_back(
        {nb::cast<int64_t>(fields[0]), std::string(bytes.c_str(), bytes.size()), nb::cast<int64_t>(fields[2])});
  }
  loop.mailbox().submit(std::move(made), is_all);
}
}  // namespace

NB_MODULE(_load, m) {
  m.doc() = "Sends requests at their times and stamps what comes, in a thread that never waits for Python.";
  nb::class_<Clock>(m, "Clock").def(nb::init<>()).def("now_ns", &Clock::now_ns).def("set_ns", &Clock::set_ns, "at"_a);
  nb::class_<Loop>(m, "Loop")
      .def(
          "__init__",
          [](Loop* self, const std::vector<Place>& addresses, std::tuple<int64_t, int64_t, int64_t, int64_t> limits,
             std::tuple<size_t, size_t, size_t, int64_t> rhythm, std::shared_ptr<Clock> clock) {
            std::vector<Address> places;
            for (const Place& one : addresses) places.push_back(address_of(one));
            new (self) Loop(std::move(places), std::make_from_tuple<Limits>(limits),
                            std::make_from_tuple<Rhythm>(rhythm), std::move(clock));
          },
          "addresses"_a, "limits"_a, "rhythm"_a, "clock"_a)
      .def_prop_ro("answers_fd", [](Loop& loop) { return loop.mailbox().answers().fd(); })
      .def_prop_ro("received_bytes", &Loop::received_bytes)
      .def_prop_ro("num_waiting", &Loop::num_waiting)
      .def("submit", &submit, "requests"_a, "is_all"_a)
      .def(
          "cancel", [](Loop& loop, int64_t id) { loop.mailbox().cancel(id); }, "id"_a)
      .def("take", &take)
      .def("stop", &Loop::stop, nb::call_guard<nb::gil_scoped_release>());
}
