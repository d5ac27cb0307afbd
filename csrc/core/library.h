// Loads a kernel library by path. A library stays loaded for the life of the process.
#pragma once
#include <string>

#include "core/abi.h"

namespace wayra {
// Throws std::runtime_error saying why the library cannot be used.
const KernelTable* load_kernels(const std::string& path);
}  // namespace wayra
