// dlopen with local symbols: the libraries define the same names for different instruction sets.
#include "core/library.h"

#include <dlfcn.h>

#include <stdexcept>

namespace wayra {
const KernelTable* load_kernels(const std::string& path) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) throw std::runtime_error(std::string("cannot load the kernel library: ") + dlerror());
  using Entry = const KernelTable* (*)();
  const auto entry = reinterpret_cast<Entry>(dlsym(handle, "wayra_kernels"));
  if (!entry) throw std::runtime_error(path + " is not a kernel library");
  const KernelTable* table = entry();
  if (table->abi_version != kAbiVersion) throw std::runtime_error(path + " is of another version; reinstall wayra");
  return table;
}
}  // namespace wayra
