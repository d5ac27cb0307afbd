// mmap, madvise and pread behind a small owner type.
#include "core/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

#include "core/threads.h"

namespace wayra {
namespace {
constexpr size_t kHugePage = size_t{2} << 20;

uint64_t load64(const uint8_t* p) {
  uint64_t v;
  std::memcpy(&v, p, 8);
  return v;
}
uint64_t mix(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}
}  // namespace

Memory::Memory(size_t bytes, bool huge_pages) : size_(bytes) {
  if (bytes == 0) return;
  mapped_ = huge_pages ? bytes + kHugePage : bytes;
  mapping_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping_ == MAP_FAILED) {
    mapping_ = nullptr;
    throw std::bad_alloc();
  }
  auto at = reinterpret_cast<uintptr_t>(mapping_);
  if (huge_pages) {
    at = (at + kHugePage - 1) / kHugePage * kHugePage;
    madvise(reinterpret_cast<void*>(at), bytes, MADV_HUGEPAGE);
  }
  data_ = reinterpret_cast<uint8_t*>(at);
}

Memory Memory::map_file(const std::string& path, uint64_t offset, size_t bytes) {
  const auto fail = [&](const char* why) { throw std::runtime_error(path + ": " + why); };
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(std::strerror(errno));
  struct stat info{};
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t begin = offset / page * page;
  Memory found;
  found.mapped_ = bytes + (offset - begin);
  int fault = 0;
  bool is_short = false;
  if (fstat(fd, &info) != 0) {
    fault = errno;
  } else if (static_cast<uint64_t>(info.st_size) < offset + bytes) {
    is_short = true;  // touching what is not there would end the process
  } else {
    found.mapping_ = mmap(nullptr, found.mapped_, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(begin));
    if (found.mapping_ == MAP_FAILED) {
      fault = errno;
      found.mapping_ = nullptr;
    }
  }
  close(fd);
  if (is_short) fail("the file is shorter than its header says");
  if (fault) fail(std::strerror(fault));
  found.size_ = bytes;
  found.data_ = static_cast<uint8_t*>(found.mapping_) + (offset - begin);
  return found;
}

Memory::~Memory() {
  if (mapping_) munmap(mapping_, mapped_);
}

Memory::Memory(Memory&& other) noexcept { *this = std::move(other); }

Memory& Memory::operator=(Memory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mapping_, other.mapping_);
  std::swap(mapped_, other.mapped_);
  return *this;
}

// Four independent lanes of multiply-and-fold, so that the multiplier's latency is hidden.
uint64_t hash64(const uint8_t* data, size_t size) {
  constexpr uint64_t kA = 0x9E3779B97F4A7C15ull, kB = 0xBF58476D1CE4E5B9ull;
  uint64_t lanes[4] = {size ^ kA, size ^ kB, ~size ^ kA, ~size ^ kB};
  size_t i = 0;
  for (; i + 64 <= size; i += 64) {
    for (size_t l = 0; l < 4; ++l) {
      lanes[l] = mix(lanes[l] ^ load64(data + i + 16 * l), kA ^ load64(data + i + 16 * l + 8)) + kB;
    }
  }
  uint8_t tail[64] = {};
  if (size > i) std::memcpy(tail, data + i, size - i);
  for (size_t l = 0; l < 4; ++l) lanes[l] = mix(lanes[l] ^ load64(tail + 16 * l), kA ^ load64(tail + 16 * l + 8)) + kB;
  return mix(mix(lanes[0] ^ kA, lanes[1] ^ kB), mix(lanes[2] ^ kB, lanes[3] ^ kA));
}

std::string read_checked(const std::string& path, uint64_t offset, size_t size, uint8_t* out, size_t chunk_bytes,
                         const std::vector<uint64_t>& expected, int threads) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return path + ": " + std::strerror(errno);
  const size_t chunks = (size + chunk_bytes - 1) / chunk_bytes;
  std::atomic<size_t> next{0};
  std::atomic<int> fault{0};  // errno, -1 for a short file, -2 for a wrong hash
  const auto work = [&] {
    for (size_t c; (c = next.fetch_add(1)) < chunks && fault.load() == 0;) {
      const size_t begin = c * chunk_bytes;
      const size_t n = begin + chunk_bytes < size ? chunk_bytes : size - begin;
      for (size_t done = 0; done < n;) {
        const ssize_t got = pread(fd, out + begin + done, n - done, static_cast<off_t>(offset + begin + done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
          fault.store(got < 0 ? errno : -1);
          return;
        }
        done += static_cast<size_t>(got);
      }
      if (c < expected.size() && hash64(out + begin, n) != expected[c]) fault.store(-2);
    }
  };
  run_on_threads(threads, work);
  close(fd);
  if (fault == 0) return {};
  if (fault == -1) return path + ": the file is shorter than its header says";
  if (fault == -2) return path + ": a chunk does not match its recorded hash";
  return path + ": " + std::strerror(fault);
}

}  // namespace wayra
