// Which kernels this processor can run.
#include <type_traits>

#include "kernels.h"

namespace nextword {

#ifdef NEXTWORD_HAS_X86
namespace avx512vnni {  // this only; the rest is avx512's
std::remove_pointer_t<decltype(Kernels::matmul_quantized)> matmul_quantized;
}
namespace avx512 {
extern const Kernels kernels;
}
namespace avx2 {
extern const Kernels kernels;
}
#endif
#ifdef NEXTWORD_HAS_NEON
namespace neon {
extern const Kernels kernels;
}
#endif
namespace portable {
extern const Kernels kernels;
}

const Kernels* const* available_kernels() {
  static const Kernels* tables[5] = {};
  static const bool initialized = [] {
    int count = 0;
#ifdef NEXTWORD_HAS_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
      static Kernels vnni = avx512::kernels;
      vnni.name = "avx512vnni", vnni.matmul_quantized = avx512vnni::matmul_quantized;
      if (__builtin_cpu_supports("avx512vnni")) tables[count++] = &vnni;
      tables[count++] = &avx512::kernels;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"))
      tables[count++] = &avx2::kernels;
#endif
#ifdef NEXTWORD_HAS_NEON
    tables[count++] = &neon::kernels;
#endif
    tables[count++] = &portable::kernels;
    return true;
  }();
  (void)initialized;
  return tables;
}

}  // namespace nextword
