//! The functions of floats that `std` has and `core` has not, by the crate `libm`.
//!
//! Rejected: the trait of the crate `num-traits`. Cargo builds one copy of it for a whole program,
//! and a test of the program may turn its feature `std` on.

/// The functions of `f32` and `f64` that `std` has and `core` has not. The prelude brings them. The
/// crate `libm` computes them, so a last digit may differ from that of `std` on another system.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// assert_eq!(2.0f64.powi(10).sqrt(), 32.0);
/// assert!(((core::f64::consts::PI / 6.0).sin() - 0.5).abs() < 1e-12);
/// # }
/// ```
pub trait Float: Sized {
    /// Returns the largest integer that is not above.
    fn floor(self) -> Self;
    /// Returns the smallest integer that is not below.
    fn ceil(self) -> Self;
    /// Returns the nearest integer, the one away from zero in the middle.
    fn round(self) -> Self;
    /// Returns the integer part.
    fn trunc(self) -> Self;
    /// Returns the square root.
    fn sqrt(self) -> Self;
    /// Returns the cube root.
    fn cbrt(self) -> Self;
    /// Returns `e` to the power of the number.
    fn exp(self) -> Self;
    /// Returns 2 to the power of the number.
    fn exp2(self) -> Self;
    /// Returns `exp() - 1`, exact near 0.
    fn exp_m1(self) -> Self;
    /// Returns the natural logarithm.
    fn ln(self) -> Self;
    /// Returns the logarithm to base 10.
    fn log10(self) -> Self;
    /// Returns the logarithm to base 2.
    fn log2(self) -> Self;
    /// Returns `(1 + self).ln()`, exact near 0.
    fn ln_1p(self) -> Self;
    /// Returns the function `sin`.
    fn sin(self) -> Self;
    /// Returns the function `cos`.
    fn cos(self) -> Self;
    /// Returns the function `tan`.
    fn tan(self) -> Self;
    /// Returns the function `asin`.
    fn asin(self) -> Self;
    /// Returns the function `acos`.
    fn acos(self) -> Self;
    /// Returns the function `atan`.
    fn atan(self) -> Self;
    /// Returns the function `sinh`.
    fn sinh(self) -> Self;
    /// Returns the function `cosh`.
    fn cosh(self) -> Self;
    /// Returns the function `tanh`.
    fn tanh(self) -> Self;
    /// Returns the function `asinh`.
    fn asinh(self) -> Self;
    /// Returns the function `acosh`.
    fn acosh(self) -> Self;
    /// Returns the function `atanh`.
    fn atanh(self) -> Self;
    /// Returns the power with this exponent.
    fn powf(self, other: Self) -> Self;
    /// Returns the angle of the point (`other`, `self`).
    fn atan2(self, other: Self) -> Self;
    /// Returns the hypotenuse of two legs.
    fn hypot(self, other: Self) -> Self;
    /// Returns `self * a + b`, rounded once.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// Returns the power with an integer exponent.
    fn powi(self, n: i32) -> Self;
    /// Returns the logarithm to this base.
    fn log(self, base: Self) -> Self;
    /// Returns the sine and the cosine.
    fn sin_cos(self) -> (Self, Self);
    /// Returns the part behind the point.
    fn fract(self) -> Self;
    /// Returns the nearest integer, the even one in the middle.
    fn round_ties_even(self) -> Self;
    /// Returns the quotient of a division whose rest is not negative.
    fn div_euclid(self, rhs: Self) -> Self;
    /// Returns the rest of that division.
    fn rem_euclid(self, rhs: Self) -> Self;
}

macro_rules! floats {
    ($($float:ident: $($name:ident $function:ident)*; $($two:ident $of_two:ident)*; $fma:ident $rint:ident $sincos:ident;)*) => { $(
        impl Float for $float {
            $(
                #[inline]
                fn $name(self) -> Self {
                    libm::$function(self)
                }
            )*
            $(
                #[inline]
                fn $two(self, other: Self) -> Self {
                    libm::$of_two(self, other)
                }
            )*
            #[inline]
            fn mul_add(self, a: Self, b: Self) -> Self {
                libm::$fma(self, a, b)
            }
            fn powi(self, n: i32) -> Self {
                let (mut power, mut square, mut left) = (1.0, self, n.unsigned_abs());
                while left > 0 {
                    if left & 1 == 1 {
                        power *= square;
                    }
                    square *= square;
                    left >>= 1;
                }
                if n < 0 { 1.0 / power } else { power }
            }
            #[inline]
            fn log(self, base: Self) -> Self {
                Float::ln(self) / Float::ln(base)
            }
            #[inline]
            fn sin_cos(self) -> (Self, Self) {
                libm::$sincos(self)
            }
            #[inline]
            fn fract(self) -> Self {
                self - Float::trunc(self)
            }
            #[inline]
            fn round_ties_even(self) -> Self {
                libm::$rint(self)
            }
            fn div_euclid(self, rhs: Self) -> Self {
                let quotient = Float::trunc(self / rhs);
                match self % rhs < 0.0 {
                    true if rhs > 0.0 => quotient - 1.0,
                    true => quotient + 1.0,
                    false => quotient,
                }
            }
            fn rem_euclid(self, rhs: Self) -> Self {
                let rest = self % rhs;
                if rest < 0.0 { rest + rhs.abs() } else { rest }
            }
        }
    )* };
}

floats! {
    f64:
        floor floor ceil ceil round round trunc trunc sqrt sqrt cbrt cbrt exp exp exp2 exp2 exp_m1 expm1 ln log log10 log10 log2 log2 ln_1p log1p sin sin cos cos tan tan asin asin acos acos atan atan sinh sinh cosh cosh tanh tanh asinh asinh acosh acosh atanh atanh;
        powf pow atan2 atan2 hypot hypot;
        fma rint sincos;
    f32:
        floor floorf ceil ceilf round roundf trunc truncf sqrt sqrtf cbrt cbrtf exp expf exp2 exp2f exp_m1 expm1f ln logf log10 log10f log2 log2f ln_1p log1pf sin sinf cos cosf tan tanf asin asinf acos acosf atan atanf sinh sinhf cosh coshf tanh tanhf asinh asinhf acosh acoshf atanh atanhf;
        powf powf atan2 atan2f hypot hypotf;
        fmaf rintf sincosf;
}
