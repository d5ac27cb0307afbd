// mmap, mremap, madvise and pread behind a small owner type.
#include "core/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
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
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22  // Linux 5.14
#endif

uintptr_t page_bytes() { return static_cast<uintptr_t>(sysconf(_SC_PAGESIZE)); }
uintptr_t down(uintptr_t value, uintptr_t step) { return value / step * step; }
uintptr_t up(uintptr_t value, uintptr_t step) { return down(value + step - 1, step); }
template <class P>
uintptr_t address(P* p) {
  return reinterpret_cast<uintptr_t>(p);
}
void* pointer(uintptr_t at) { return reinterpret_cast<void*>(at); }

// Has the system bring in the pages of a mapped file. 0, or errno where it cannot read them: touching such a page would
// end the process. An older system, or one short of memory, says nothing of the file.
int bring_in(uintptr_t from, uintptr_t to) {
  if (madvise(pointer(from), to - from, MADV_POPULATE_READ) == 0) return 0;
  return errno == EFAULT || errno == EIO || errno == EHWPOISON ? errno : 0;
}

// What became of reading chunks: errno, or one of these.
constexpr int kTooShort = -1, kWrongHash = -2;

std::string told(int fault) {
  if (fault == 0) return {};
  if (fault == kTooShort) return "the file is shorter than its header says";
  if (fault == kWrongHash) return "a chunk does not match its recorded hash";
  if (fault == EFAULT) return "a page cannot be read";  // what the system says of mapped ones
  return std::strerror(fault);
}

// get(begin, bytes) for every chunk of [0, size), on `threads` threads, until one gives a fault. Returns it, or 0.
template <class Get>
int for_chunks(size_t size, size_t chunk_bytes, int threads, const Get& get) {
  const size_t chunks = (size + chunk_bytes - 1) / chunk_bytes;
  std::atomic<size_t> next{0};
  std::atomic<int> fault{0};
  run_on_threads(threads, [&] {
    for (size_t c; (c = next.fetch_add(1)) < chunks && fault.load() == 0;) {
      const size_t begin = c * chunk_bytes;
      if (const int found = get(begin, std::min(chunk_bytes, size - begin))) fault.store(found);
    }
  });
  return fault.load();
}

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
  auto at = address(mapping_);
  if (huge_pages) {
    at = up(at, kHugePage);
    madvise(pointer(at), bytes, MADV_HUGEPAGE);
  }
  data_ = reinterpret_cast<uint8_t*>(at);
}

Memory Memory::map_file(const std::string& path, uint64_t offset, size_t bytes) {
  const auto fail = [&](const char* why) { throw std::runtime_error(path + ": " + why); };
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(std::strerror(errno));
  struct stat info{};
  const uint64_t begin = down(offset, page_bytes());
  const size_t needed = bytes + (offset - begin);
  Memory found;
  uintptr_t at = 0;
  int fault = 0;
  bool is_short = false;
  if (fstat(fd, &info) != 0) {
    fault = errno;
  } else if (static_cast<uint64_t>(info.st_size) < offset + bytes) {
    is_short = true;  // touching what is not there would end the process
  } else {
    // Room to begin where a huge page may, for `settle`.
    found.mapped_ = needed + kHugePage;
    found.mapping_ = mmap(nullptr, found.mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (found.mapping_ == MAP_FAILED) {
      fault = errno;
      found.mapping_ = nullptr;
    } else {
      at = up(address(found.mapping_), kHugePage);
      const int flags = MAP_SHARED | MAP_FIXED;
      if (mmap(pointer(at), needed, PROT_READ, flags, fd, static_cast<off_t>(begin)) == MAP_FAILED) fault = errno;
    }
  }
  close(fd);
  if (is_short) fail("the file is shorter than its header says");
  if (fault) fail(std::strerror(fault));
  found.size_ = bytes;
  found.in_file_ = reinterpret_cast<uint8_t*>(at);
  found.in_file_bytes_ = up(needed, page_bytes());
  found.data_ = found.in_file_ + (offset - begin);
  return found;
}

std::string Memory::check(size_t chunk_bytes, const std::vector<uint64_t>& expected, int threads) const {
  return told(for_chunks(size_, chunk_bytes, threads, [&](size_t begin, size_t bytes) {
    const uint8_t* chunk = data_ + begin;
    if (const int fault = bring_in(down(address(chunk), page_bytes()), address(chunk) + bytes)) return fault;
    const size_t number = begin / chunk_bytes;
    return number < expected.size() && hash64(chunk, bytes) != expected[number] ? kWrongHash : 0;
  }));
}

bool Memory::settle(size_t max_bytes, int threads) {
  if (in_file_bytes_ == 0) return false;
  const size_t bytes = std::min(in_file_bytes_, std::max(down(max_bytes, kHugePage), kHugePage));
  const size_t room = bytes + kHugePage;
  void* reserved = mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) {
    in_file_bytes_ = 0;
    return false;
  }
  const uintptr_t at = up(address(reserved), kHugePage), end = address(reserved) + room;
  madvise(pointer(at), bytes, MADV_HUGEPAGE);
  for_chunks(bytes, kHugePage, threads, [&](size_t begin, size_t count) {
    std::memcpy(reinterpret_cast<uint8_t*>(at) + begin, in_file_ + begin, count);
    return 0;
  });
  mprotect(pointer(at), bytes, PROT_READ);
  if (mremap(pointer(at), bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, in_file_) == MAP_FAILED) {
    munmap(reserved, room);
    in_file_bytes_ = 0;
    return false;
  }
  if (at > address(reserved)) munmap(reserved, at - address(reserved));
  munmap(pointer(at + bytes), end - at - bytes);
  in_file_ += bytes;
  in_file_bytes_ -= bytes;
  return in_file_bytes_ > 0;
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
  std::swap(in_file_, other.in_file_);
  std::swap(in_file_bytes_, other.in_file_bytes_);
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
  if (fd < 0) return std::strerror(errno);
  const int fault = for_chunks(size, chunk_bytes, threads, [&](size_t begin, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
      const ssize_t got = pread(fd, out + begin + done, bytes - done, static_cast<off_t>(offset + begin + done));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return got < 0 ? errno : kTooShort;
      done += static_cast<size_t>(got);
    }
    const size_t number = begin / chunk_bytes;
    return number < expected.size() && hash64(out + begin, bytes) != expected[number] ? kWrongHash : 0;
  });
  close(fd);
  return told(fault);
}

}  // namespace wayra
