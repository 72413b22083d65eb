mod presign;
mod streams;
