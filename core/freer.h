#ifndef GRADORACLE_CORE_FREER_H_
#define GRADORACLE_CORE_FREER_H_

namespace gradoracle {

// Lets a std::unique_ptr own what a C library made, by the function that frees it:
//   using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};

}  // namespace gradoracle

#endif  // GRADORACLE_CORE_FREER_H_
