// Page-aligned memory straight from the system, zeroed, with huge pages where asked; files read or mapped, and hashed.
#pragma once
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <vector>

namespace wayra {

class Memory {
 public:
  Memory() = default;
  // Throws std::bad_alloc. huge_pages asks for them (never required): they raise read bandwidth for weights.
  Memory(size_t bytes, bool huge_pages);
  // A part of a file, read-only; the system reads its pages when they are touched and may drop them again.
  // Throws std::runtime_error saying why it cannot be mapped.
  static Memory map_file(const std::string& path, uint64_t offset, size_t bytes);
  // Reads and hashes what map_file mapped, as read_checked does; the system has its pages ready afterwards.
  std::string check(size_t chunk_bytes, const std::vector<uint64_t>& expected, int threads) const;
  // Copies up to max_bytes more of what map_file mapped to memory of our own with huge pages, which takes the place of
  // the file's at the same addresses. True while some are left. What the system has no room for stays in the file.
  // Whoever reads meanwhile finds the same bytes before and after; but two callers must not settle at once.
  bool settle(size_t max_bytes, int threads);
  ~Memory();
  Memory(Memory&& other) noexcept;
  Memory& operator=(Memory&& other) noexcept;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  void* mapping_ = nullptr;
  size_t mapped_ = 0;
  uint8_t* in_file_ = nullptr;  // what is still the file's, at a huge page's beginning
  size_t in_file_bytes_ = 0;
};

// Memory that begins with a line of the cache: a vector register's load or store then touches one line, not two.
template <class T>
struct LineAligned {
  using value_type = T;
  static constexpr std::align_val_t kLine{64};
  LineAligned() = default;
  template <class U>
  LineAligned(const LineAligned<U>&) {}
  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), kLine)); }
  void deallocate(T* p, size_t) { ::operator delete(p, kLine); }
  template <class U>
  bool operator==(const LineAligned<U>&) const {
    return true;
  }
};
using AlignedFloats = std::vector<float, LineAligned<float>>;

// A fast 64-bit hash (not cryptographic): detects damaged cache files.
uint64_t hash64(const uint8_t* data, size_t size);

// Reads size bytes at offset of a file into out with `threads` threads, hashing chunks of chunk_bytes as they arrive.
// Returns an empty string, or what went wrong. expected: one hash a chunk; empty to skip the check.
std::string read_checked(const std::string& path, uint64_t offset, size_t size, uint8_t* out, size_t chunk_bytes,
                         const std::vector<uint64_t>& expected, int threads);

}  // namespace wayra
