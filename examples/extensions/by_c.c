/* Huber's loss of two buffers of float32, in C (or C++). */
#define PY_SSIZE_T_CLEAN
#include <fastloss.h>

static PyObject *huber(PyObject *self, PyObject *args) {
    Py_buffer x, y, grad;
    double value;
    int status = FASTLOSS_BAD_ARGUMENT;
    if (!PyArg_ParseTuple(args, "y*y*w*", &x, &y, &grad)) return NULL;
    if (y.len == x.len && grad.len == x.len) {
        Py_BEGIN_ALLOW_THREADS
        status = fastloss.huber_loss_f32((const float *)x.buf, (const float *)y.buf, 2.0, NULL, x.len / 4, 0, &value, (float *)grad.buf, NULL);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&x), PyBuffer_Release(&y), PyBuffer_Release(&grad);
    if (status == FASTLOSS_OK) return PyFloat_FromDouble(value);
    return status == FASTLOSS_NO_MEMORY ? PyErr_NoMemory() : PyErr_Format(PyExc_ValueError, "the buffers must be of one length");
}

static PyMethodDef methods[] = {{"huber", huber, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "by_c", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_by_c(void) {
    if (import_fastloss() < 0) return NULL;
    return PyModule_Create(&module);
}
